/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User-owned TCE entries: the one protocol by which VFIO and KVM change them.
 *
 * Invariant, for every observer: a hardware entry that lets a device reach a page
 * has, in its view word (asm/iommu_levels.h), the ua of a region on which it holds one
 * @mapped reference (v2), or holds a pin of that page (v1, tbl->it_pins). So:
 *
 *   1. the new reference (pin) is taken before the entry is set;
 *   2. TCE and view word change together, under the lock bit of their line;
 *   3. what the old entry held goes into a gather, and is dropped only after
 *      the TCE caches have been invalidated.
 *
 * Try, provide, try again. A *try* runs in both modes, MMU on and off. It never
 * sleeps, never allocates and waits a bounded time. It completes the operation, or
 * returns the entry it stopped at and what is missing there. It may then be repeated.
 * With the MMU off nothing is provided: the hypercall returns H_TOO_HARD and virtual mode
 * serves it. There iommu_user_provide() supplies what is missing, and the caller tries
 * again. iommu_user_map() and iommu_user_unmap() are this loop for callers that may
 * sleep. They also change what a try cannot: pins, and a hypervisor's entries but single ones.
 *
 * One operation of a caller is: begin, any number of tries, maps and unmaps on one
 * table, finish. It lives in a gather, which also remembers the mode.
 *
 * Entries are numbered as on the bus, ioba >> it_page_shift. The caller has
 * checked the whole range against the table, holds a reference on the table, or is in a
 * RCU or SRCU read side that the holder of one waits for, and runs in the mm of the table
 * (v1) or on behalf of it.
 *
 * Why an operation did not do an entry, by errno:
 *
 *   -ENOENT      its level is missing: provide
 *   -EAGAIN      its line stayed locked for as long as a try waits: provide
 *   -EFAULT      nothing is registered (v2) or can be pinned (v1) there
 *   -EINVAL      the memory is not contiguous and aligned enough for an IOMMU page
 *   -ENXIO       the region is being registered or unregistered
 *   -ENODEV      the table has been revoked
 *   -EDQUOT      v1: a page more would be pinned than is charged: provide
 *   -EOPNOTSUPP  not by a try: see iommu_user_try_ready()
 *   -EIO         with the MMU off: the old entry leads to a region that only virtual
 *                mode may drop
 *
 * and where it may sleep: -EINTR on a fatal signal, -ENOMEM for a level or its charge
 * or pins, -EPERM in a foreign mm (v1), a hypervisor's errors.
 *
 * Reading order: asm/iommu_levels.h (view words and lines), kernel/iommu_user_lines.h
 * (how lines are changed), kernel/iommu_user_try.c (tries), kernel/iommu_user.c
 * (everything that may sleep), kernel/iommu_user_pins.c (page pins of version 1).
 */
#ifndef _ASM_POWERPC_IOMMU_USER_H
#define _ASM_POWERPC_IOMMU_USER_H

#include <linux/dma-direction.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/types.h>

struct iommu_table;

/* Entries of one try at most. For so long preemption is off, or the guest's core is held up. */
#define IOMMU_USER_TRY		2048UL

#define IOMMU_USER_HELD		32

/**
 * struct iommu_user_held - what some old entries held
 * @addr: v2: the region. v1: hpa of the first page | IOMMU_VIEW_PIN, and
 *	IOMMU_VIEW_WRITE if the device may have written
 * @nr: v2: references. v1: pins; hpas go on contiguously, one IOMMU page each
 */
struct iommu_user_held {
	unsigned long addr;
	unsigned long nr;
};

/**
 * struct iommu_user_gather - an operation: entries changed, and what they held before
 * @tbl: the table
 * @mmu_off: real mode
 * @first: lowest entry changed since the last invalidation
 * @end: the one after the highest; nothing to invalidate when not above @first
 * @done: entries of the last call that are as wanted, counted from its first
 * @live: entries changed so far that were live before
 * @nr: elements of @held in use
 * @held: what to drop after the invalidation
 *
 * On the caller's stack, in real mode too. No lock: only the caller uses it. Declare it
 * __uninitialized, as @held is large: iommu_user_begin() sets what must be set.
 */
struct iommu_user_gather {
	struct iommu_table *tbl;
	bool mmu_off;
	unsigned long first;
	unsigned long end;
	unsigned long done;
	unsigned long live;
	unsigned int nr;
	struct iommu_user_held held[IOMMU_USER_HELD];
};

/**
 * iommu_user_begin() - start an operation
 * @g: the gather, uninitialised
 * @tbl: the table
 * @mmu_off: real mode
 *
 * Context: any.
 */
static inline void iommu_user_begin(struct iommu_user_gather *g, struct iommu_table *tbl,
				    bool mmu_off)
{
	g->tbl = tbl;
	g->mmu_off = mmu_off;
	g->first = ~0UL;
	g->end = 0;
	g->live = 0;
	g->nr = 0;
}

/**
 * iommu_user_enter() - begin a section of tries in virtual mode
 *
 * In a section what a walk found is not freed, and the holder of a line's lock is not
 * preempted: a waiter never waits for a task that does not run.
 *
 * Interrupts stay enabled. No interrupt, softirq, machine check or NMI handler changes a
 * user's entries, so no handler waits for the task that it interrupted. An interrupt only
 * makes a holder slower. No wait is unbounded: iommu_line_wait() gives up after a fixed
 * number of reads. In real mode, where a waiter holds up the threads of its core, the
 * hypercall then returns H_TOO_HARD. In virtual mode the caller leaves the section,
 * reschedules and tries again.
 *
 * Context: any with the MMU on. A section must not sleep.
 */
static inline void iommu_user_enter(void)
	__acquires(RCU)
{
	preempt_disable();
	rcu_read_lock();
}

/**
 * iommu_user_leave() - end a section of tries
 *
 * Context: in a section.
 */
static inline void iommu_user_leave(void)
	__releases(RCU)
{
	rcu_read_unlock();
	preempt_enable();
}

int iommu_user_try_ready(struct iommu_table *tbl, bool set, bool mmu_off);
int iommu_user_try_map(struct iommu_user_gather *g, unsigned long entry,
		       unsigned long n, unsigned long ua, enum dma_data_direction dir);
int iommu_user_try_map_list(struct iommu_user_gather *g, unsigned long entry,
			    unsigned long n, const u64 *list, unsigned long delta,
			    enum dma_data_direction dir);
int iommu_user_try_unmap(struct iommu_user_gather *g, unsigned long entry,
			 unsigned long n);
void iommu_user_try_finish(struct iommu_user_gather *g);
int iommu_user_try_map_one(struct iommu_table *tbl, unsigned long entry, u64 word,
			   bool mmu_off);
int iommu_user_try_unmap_one(struct iommu_table *tbl, unsigned long entry, bool mmu_off);

int iommu_user_provide(struct iommu_table *tbl, unsigned long entry, int err);
int iommu_user_map(struct iommu_user_gather *g, unsigned long entry,
		   unsigned long n, unsigned long ua,
		   enum dma_data_direction dir, unsigned long *done);
int iommu_user_map_list(struct iommu_user_gather *g, unsigned long entry,
			unsigned long n, const u64 *list, unsigned long delta,
			enum dma_data_direction dir);
long iommu_user_unmap(struct iommu_user_gather *g, unsigned long entry,
		      unsigned long n);
long iommu_user_unmap_ua(struct iommu_table *tbl, unsigned long ua, unsigned long size);
void iommu_user_finish(struct iommu_user_gather *g);
void iommu_user_revoke(struct iommu_table *const *tbl, unsigned int nr);
void iommu_user_pins_init(struct iommu_table *tbl, bool revoked);
void iommu_user_pins_uncharge(struct iommu_table *tbl);

#endif /* _ASM_POWERPC_IOMMU_USER_H */
