/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCE hypercalls of a guest: shared by all modes.
 *
 * A LIOBN names a window of the guest's bus address space. It has a *guest view* (here: the
 * view; in names: gview), which holds the TCEs as the guest wrote them, and which user space maps,
 * reads and writes. And it has no, one or several *hardware tables*, one per VFIO container,
 * with the same TCEs, translated. A hypercall changes the hardware tables first, the view
 * last.
 *
 * Try, provide, try again. A *try* (book3s_64_vio_hv.c) completes a hypercall or returns
 * what it lacks. It never sleeps, never allocates and waits a bounded time, so it runs
 *
 *   in real mode      of a POWER8 guest, MMU off. If it lacks something, virtual mode does
 *                     the whole call again;
 *   on the way out    of a guest on POWER9 and later: likewise;
 *   in virtual mode   (book3s_64_vio.c), which provides what is lacking and repeats the
 *                     try. A repeated try continues after the last hardware table that is
 *                     done.
 *
 * Results, the same in all modes (PAPR: LoPAR, 14.5.4.2)
 *   H_PARAMETER             ioba not aligned or not in the window; list not aligned, too
 *                           long, or not in guest memory; an entry with permissions
 *                           that is not aligned; H_STUFF_TCE of a value with permissions
 *   H_NOT_ENOUGH_RESOURCES  no memory for a page of the view: nothing has changed, except that
 *                           H_STUFF_TCE works through the window in parts of 256 MiB, of which
 *                           the earlier ones are done. Or no memory for a level of a
 *                           hardware table, or (v1) no room for one more pinned page: the
 *                           entries of this call are clear
 *   H_TOO_HARD              the next mode must serve the call: virtual mode after real mode,
 *                           user space after virtual mode. It may redo the whole call.
 * An entry without permission bits clears; the view keeps its other bits (poison).
 *
 * Lifetime. LIOBNs, their links to hardware tables, the view and memory slots are freed
 * after a grace period of kvm->srcu. Virtual mode holds kvm->srcu; a vCPU in real mode runs in
 * the kvm->srcu read side of kvmppc_run_core(), and kvmppc_tce_hcall_at_once() in that
 * of kvmhv_run_single_vcpu(). RCU protects levels of hardware tables and regions: virtual
 * mode runs a try in a section (iommu_user_enter()), and RCU waits for real mode.
 *
 * Read on in book3s_64_vio_hv.c (the tries, real mode), then book3s_64_vio.c (LIOBNs,
 * attaching tables, virtual mode).
 */
#ifndef BOOK3S_64_VIO_H
#define BOOK3S_64_VIO_H

#include <linux/kvm_host.h>
#include <linux/llist.h>
#include <linux/rbtree_latch.h>
#include <asm/hvcall.h>
#include <asm/iommu.h>
#include <asm/tce.h>

#define KVM_TCE_PERM		(TCE_PCI_READ | TCE_PCI_WRITE)

/* PAPR: a list is one 4K page. Only virtual mode serves more entries at once. */
#define KVM_TCE_LIST		512UL

/**
 * struct kvmppc_tce_list - a vCPU's copy of the list of an H_PUT_TCE_INDIRECT
 * @tce: the entries
 * @batch: where a batch of entries begins, its length; see kvmppc_tce_list_check()
 * @unregistered: an entry leads to a page that is not wholly in one region
 */
struct kvmppc_tce_list {
	u64 tce[KVM_TCE_LIST];
	u16 batch[KVM_TCE_LIST];
	bool unregistered;
};

/* A page of the view's tree: TCEs, or pointers to such pages */
#define KVM_TCE_GVIEW_SHIFT	(PAGE_SHIFT - 3)
#define KVM_TCE_GVIEW_WORDS	BIT(KVM_TCE_GVIEW_SHIFT)

/**
 * struct kvmppc_spapr_tce_iommu_table - a hardware table of a LIOBN
 * @next: in the LIOBN's list; added and removed under kvm->arch.tce_lock
 * @tbl: the table, referenced
 * @groups: the IOMMU groups it was attached for (kvm->arch.tce_lock); never empty
 * @unused: in a list of detached ones
 */
struct kvmppc_spapr_tce_iommu_table {
	struct list_head next;
	struct iommu_table *tbl;
	struct list_head groups;
	struct list_head unused;
};

/**
 * struct kvmppc_spapr_tce_table - a LIOBN
 * @node: in kvm->arch.tce_index; added and removed under kvm->arch.tce_lock, found under
 *	kvm->srcu
 * @list: in kvm->arch.spapr_tce_tables (kvm->arch.tce_lock)
 * @kvm: the VM, referenced by the table's file
 * @liobn: its name
 * @page_shift: log2 of the guest's IOMMU page
 * @offset: first TCE of the window, counted from bus address 0
 * @size: TCEs in the window
 * @iommu_tables: hardware tables; walked under kvm->srcu
 * @shift: low bits of a TCE's number that do not index the top page; 0: the top page holds TCEs
 * @gview: top page of the tree; a missing page reads as zeros. Set by cmpxchg and not
 *	cleared before the tree is freed, so readers need no lock.
 * @pages: pages that the whole tree can have, all charged to the mm's locked_vm
 * @rcu: waits for kvm->srcu when the LIOBN is released
 * @free: in kvm->arch.tce_free after that
 *
 * Fields without a lock above are set before the LIOBN can be found, and never change.
 */
struct kvmppc_spapr_tce_table {
	struct latch_tree_node node;
	struct list_head list;
	struct kvm *kvm;
	u64 liobn;
	u32 page_shift;
	u64 offset;
	u64 size;
	struct list_head iommu_tables;
	unsigned int shift;
	void *gview;
	unsigned long pages;
	struct rcu_head rcu;
	struct llist_node free;
};

/* What a try lacks. Virtual mode provides the last four; user space must serve the others. */
enum kvmppc_tce_lack {
	KVM_TCE_LACK_NOTHING,
	KVM_TCE_LACK_LIOBN,		/* the VM has no such LIOBN */
	KVM_TCE_LACK_MEMORY,		/* no guest memory there, or access not allowed */
	KVM_TCE_LACK_REGION,		/* not registered, or not contiguous for an IOMMU page */
	KVM_TCE_LACK_TABLE,		/* VFIO has revoked the hardware table */
	KVM_TCE_LACK_TIME,		/* the vCPU's thread is being killed */
	KVM_TCE_LACK_GVIEW,		/* a page of the view */
	KVM_TCE_LACK_LEVEL,		/* a level of a hardware table */
	KVM_TCE_LACK_LOCK,		/* the entry's line is locked */
	KVM_TCE_LACK_SLEEP,		/* what a try cannot do: see iommu_user_try_ready() */
};

/**
 * struct kvmppc_tce_call - a hypercall that is being served
 * @nr: H_GET_TCE, H_PUT_TCE, H_PUT_TCE_INDIRECT or H_STUFF_TCE
 * @ioba: bus address of the first TCE
 * @value: H_PUT_TCE: the TCE. H_STUFF_TCE: what to put. H_GET_TCE: the answer
 * @n: TCEs; H_GET_TCE and H_PUT_TCE: 1
 * @list: H_PUT_TCE_INDIRECT: checked by kvmppc_tce_list_check()
 * @mmu_off: in real mode
 * @stt: the LIOBN
 * @slots: memory slots at the beginning of the call
 * @at: the last hardware table that is done, its @next; initially the list's head
 * @lack: why a try was H_TOO_HARD
 * @hw: then: the hardware table
 * @entry: then: its entry, or the TCE whose page of the view is missing
 * @ua: then: H_PUT_TCE: user address of the page
 * @err: then: of iommu_user_try_*()
 *
 * On the caller's stack, declared __uninitialized: kvmppc_tce_begin() sets what must be set.
 */
struct kvmppc_tce_call {
	unsigned long nr;
	unsigned long ioba;
	unsigned long value;
	unsigned long n;
	struct kvmppc_tce_list *list;
	bool mmu_off;
	struct kvmppc_spapr_tce_table *stt;
	struct kvm_memslots *slots;
	struct list_head *at;
	enum kvmppc_tce_lack lack;
	struct kvmppc_spapr_tce_iommu_table *hw;
	unsigned long entry;
	unsigned long ua;
	int err;
};

/**
 * struct kvmppc_tce_batch - entries of a list that are mapped together
 * @n: how many
 * @perm: their permissions; 0 if they are to be cleared
 * @delta: added to each, it gives the user address
 */
struct kvmppc_tce_batch {
	unsigned long n;
	unsigned long perm;
	unsigned long delta;
};

/* iommu_tce_direction() for all modes */
static inline enum dma_data_direction kvmppc_tce_dir(unsigned long tce)
{
	unsigned long perm = tce & KVM_TCE_PERM;

	if (likely(perm == KVM_TCE_PERM))
		return DMA_BIDIRECTIONAL;
	if (!perm)
		return DMA_NONE;
	return perm == TCE_PCI_READ ? DMA_TO_DEVICE : DMA_FROM_DEVICE;
}

/* book3s_64_vio_hv.c: any mode */
struct kvmppc_spapr_tce_table *kvmppc_tce_find(struct kvm *kvm, unsigned long liobn);

bool kvmppc_tce_begin(struct kvmppc_tce_call *c, struct kvm *kvm, unsigned long nr,
		      unsigned long liobn, unsigned long ioba, unsigned long value,
		      unsigned long n);
long kvmppc_tce_try(struct kvmppc_tce_call *c);
bool kvmppc_tce_in_window(const struct kvmppc_spapr_tce_table *stt, unsigned long ioba,
			  unsigned long n);

long kvmppc_tce_list_args(struct kvmppc_tce_call *c, unsigned long gpa);
long kvmppc_tce_list_check(struct kvmppc_tce_call *c, const __be64 *src);
void kvmppc_tce_list_batch(struct kvmppc_tce_call *c, unsigned long i,
			   struct kvmppc_tce_batch *batch);
bool kvmppc_tce_registered(struct iommu_table *tbl, unsigned long ua, unsigned long n);

/* book3s_64_vio.c: process context */
u64 *kvmppc_tce_word_alloc(struct kvmppc_spapr_tce_table *stt, unsigned long idx);
struct kvmppc_spapr_tce_table *
kvmppc_tce_table_create(struct kvm *kvm, const struct kvm_create_spapr_tce_64 *args);
void kvmppc_tce_table_free(struct kvmppc_spapr_tce_table *stt);
int kvmppc_tce_attach(struct kvmppc_spapr_tce_table *stt, struct iommu_table *tbl,
		      struct iommu_group *grp);

#endif /* BOOK3S_64_VIO_H */
