/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the KUnit suites of regions, TCE tables, their entries and their hypercalls share:
 * an mm, the count of pins, a caller whose limit of locked memory holds, and calls with
 * the MMU off (realmode_call.S).
 */
#ifndef IOMMU_KUNIT_H
#define IOMMU_KUNIT_H

#include <kunit/test.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/vmstat.h>
#include <asm/hw_irq.h>
#include <asm/interrupt.h>
#include <asm/kprobes.h>	/* ppc_function_entry() */
#include "../mm_iommu_core.h"

/* An mm of the case's own, and a reference for mmdrop(). */
static inline struct mm_struct *own_mm(struct kunit *test)
{
	/* The first mapping is what gives this kthread a mm. */
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)
		kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ,
			      MAP_PRIVATE | MAP_ANONYMOUS, 0)));
	mmgrab(current->mm);
	return current->mm;
}

/*
 * Pins taken so far, without those that were released if @live, and with the drift that per-cpu
 * counters hold. A CPU may fold its counters into the node's during a read, so two reads have to
 * agree.
 */
static inline long pins_read(bool live)
{
	struct pglist_data *node;
	long n = -1, last;
	int cpu;

	do {
		last = n;
		n = 0;
		for_each_online_pgdat(node) {
			n += atomic_long_read(&node->vm_stat[NR_FOLL_PIN_ACQUIRED]) -
			     live * atomic_long_read(&node->vm_stat[NR_FOLL_PIN_RELEASED]);
			for_each_possible_cpu(cpu) {
				s8 *diff = per_cpu_ptr(node->per_cpu_nodestats,
						       cpu)->vm_node_stat_diff;

				n += diff[NR_FOLL_PIN_ACQUIRED] -
				     live * diff[NR_FOLL_PIN_RELEASED];
			}
		}
	} while (n != last);
	return n;
}

static inline long pins_live(void)
{
	return pins_read(true);
}

/*
 * Wait until all that was unregistered in @mm is unpinned and uncharged, and abandoned orphans are
 * looked at.
 */
static inline int mm_iommu_drain(struct mm_struct *mm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);

	while (store && flush_work(&store->work))
		;
	/* The worker does not wait for mmap_lock, which the end of the mm may hold. */
	while (store && (flush_delayed_work(&store->uncharge_work) ||
			 atomic_long_read(&store->uncharging)))
		usleep_range(100, 1000);
	return 0;
}

/* A caller without CAP_IPC_LOCK, to whom RLIMIT_MEMLOCK applies, until ipc_lock_back(). */
static inline const struct cred *ipc_lock_drop(struct kunit *test)
{
	struct cred *cred = prepare_creds();

	KUNIT_ASSERT_NOT_NULL(test, cred);
	cap_lower(cred->cap_effective, CAP_IPC_LOCK);
	return override_creds(cred);
}

static inline void ipc_lock_back(const struct cred *old)
{
	const struct cred *cred = current_cred();

	revert_creds(old);
	put_cred(cred);
}

typedef long (*call_t)(void *fn, unsigned long a0, unsigned long a1, unsigned long a2,
		       unsigned long a3, unsigned long a4, unsigned long a5);

asmlinkage long mm_iommu_test_call_real(unsigned long entry, const unsigned long *arg);

/*
 * Call @fn with the MMU off. Nothing that can fault may run there, so no KUNIT_ macro
 * either: answers are compared after the MMU is on again. See need_real_mode().
 */
static inline long call_real(void *fn, unsigned long a0, unsigned long a1,
			     unsigned long a2, unsigned long a3, unsigned long a4,
			     unsigned long a5)
{
	const unsigned long arg[6] = { a0, a1, a2, a3, a4, a5 };
	unsigned long flags;
	long ret;

	local_irq_save(flags);
	hard_irq_disable();
	ret = mm_iommu_test_call_real(ppc_function_entry(fn), arg);
	srr_regs_clobbered();
	local_irq_restore(flags);
	return ret;
}

/* The same function with the MMU on, in what real mode is too: not preempted, an RCU reader */
static inline long call_virt(void *fn, unsigned long a0, unsigned long a1,
			     unsigned long a2, unsigned long a3, unsigned long a4,
			     unsigned long a5)
{
	long (*f)(unsigned long, unsigned long, unsigned long, unsigned long,
		  unsigned long, unsigned long) = fn;
	long ret;

	preempt_disable();
	rcu_read_lock();
	ret = f(a0, a1, a2, a3, a4, a5);
	rcu_read_unlock();
	preempt_enable();
	return ret;
}

/* Why call_real() can't be used here, or NULL */
static inline const char *no_real_mode(void)
{
	if (radix_enabled())
		return "radix translation: nothing runs in real mode";
	if (!(mfmsr() & MSR_HV))
		return "not a hypervisor: real mode is not all memory";
	if (!virt_addr_valid((void *)current_stack_pointer))
		return "the stack is not in the linear map";
	return NULL;
}

static inline void need_real_mode(struct kunit *test)
{
	const char *why = no_real_mode();

	if (why)
		kunit_skip(test, "%s", why);
}

#endif /* IOMMU_KUNIT_H */
