// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCE tables of KVM guests: the file user space holds, the hardware tables behind a
 * LIOBN, and the hypercalls in virtual mode. The hypercalls' common body, its answers
 * and its lifetime rules are in book3s_64_vio.h.
 *
 * Objects. A LIOBN is owned by the file that KVM_CREATE_SPAPR_TCE returned. All LIOBNs of a
 * VM are in kvm->arch.spapr_tce_tables, for those that walk them, and in kvm->arch.tce_index,
 * where hypercalls find them. A LIOBN lists its hardware tables; one such entry lives as
 * long as any IOMMU group is attached to it, and holds a reference to the table. A group is
 * attached to a LIOBN at most once, so attaching again changes nothing (or moves it to its
 * new table), and detaching is right in any order.
 *
 * Memory. The pages that a whole view can have are charged to locked_vm when the LIOBN is
 * created, and uncharged when its file is released. They are allocated when they are first
 * used; that can fail for lack of memory, but not for RLIMIT_MEMLOCK. What a released LIOBN
 * leaves is freed by a worker after a grace period of kvm->srcu: see kvmppc_tce_table_free().
 *
 * Who owns a hardware table is VFIO's business: it revokes the table before it lets go
 * of it, and from then on nothing can be set in it here (iommu_user_revoke()).
 *
 * Locks: kvm->lock or the VFIO device's lock (held by callers or not) > kvm->arch.tce_lock.
 * The mm's mmap_lock is taken with none of them held. Readers take only kvm->srcu.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/iommu.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/mm_iommu.h>

#include "book3s_64_vio.h"

#define CREATE_TRACE_POINTS
#include "trace_vio.h"

/* Pages of views that wait to be freed: beyond that, a release waits for them. 64 MiB */
#define KVM_TCE_FREE_PAGES	(SZ_64M >> PAGE_SHIFT)

/* 4K pages; H_STUFF_TCE of more of the window looks up the LIOBN again in between */
#define KVM_TCE_STUFF_MAX	BIT(16)

/* An IOMMU group for which a hardware table is behind a LIOBN */
struct kvmppc_tce_group {
	struct list_head next;
	struct iommu_group *grp;
};

/*
 * The view's pages
 */

/* Pages of a whole view, those with pointers included. */
static unsigned long kvmppc_tce_view_pages(struct kvmppc_spapr_tce_table *stt)
{
	unsigned long pages = 0;
	unsigned int shift;

	for (shift = KVM_TCE_VIEW_SHIFT; ; shift += KVM_TCE_VIEW_SHIFT) {
		pages += ((stt->size - 1) >> shift) + 1;
		if (shift > stt->shift)
			return pages;
	}
}

static void *kvmppc_tce_page_get(void **slot)
{
	void *page = READ_ONCE(*slot), *old;

	if (page)
		return page;
	page = (void *)__get_free_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN);
	if (!page)
		return NULL;
	old = cmpxchg(slot, NULL, page);
	if (!old)
		return page;
	free_page((unsigned long)page);
	return old;
}

/**
 * kvmppc_tce_word_alloc() - a word of the view, with the pages that lead to it
 * @stt: the LIOBN
 * @idx: the TCE, from the window's start
 *
 * Context: process context, may sleep; page faults included.
 * Return: the word, or NULL without memory.
 */
u64 *kvmppc_tce_word_alloc(struct kvmppc_spapr_tce_table *stt, unsigned long idx)
{
	void **slot = &stt->view, *page;
	unsigned int shift;

	for (shift = stt->shift; ; shift -= KVM_TCE_VIEW_SHIFT) {
		page = kvmppc_tce_page_get(slot);
		if (!page)
			return NULL;
		if (!shift)
			return (u64 *)page + (idx & (KVM_TCE_VIEW_WORDS - 1));
		slot = (void **)page + ((idx >> shift) & (KVM_TCE_VIEW_WORDS - 1));
	}
}

static void kvmppc_tce_view_free(void *page, unsigned int shift)
{
	unsigned long i;

	if (!page)
		return;
	for (i = 0; shift && i < KVM_TCE_VIEW_WORDS; i++)
		kvmppc_tce_view_free(((void **)page)[i], shift - KVM_TCE_VIEW_SHIFT);
	cond_resched();
	/* One that user space has pinned lives on as an ordinary page. */
	free_page((unsigned long)page);
}

/*
 * LIOBNs
 */

static int kvmppc_tce_table_publish(struct kvmppc_spapr_tce_table *stt)
{
	struct kvm *kvm = stt->kvm;

	guard(mutex)(&kvm->arch.tce_lock);
	if (kvmppc_tce_find(kvm, stt->liobn))
		return -EBUSY;
	list_add_tail(&stt->list, &kvm->arch.spapr_tce_tables);
	latch_tree_insert(&stt->node, &kvm->arch.tce_index, &kvmppc_tce_index_ops);
	return 0;
}

/**
 * kvmppc_tce_table_create() - a LIOBN that the guest can use
 * @kvm: the VM
 * @args: as in KVM_CREATE_SPAPR_TCE_64
 *
 * Charges the whole view to locked_vm of the VM's mm; none of its pages exists yet.
 *
 * Context: process context, may sleep; takes mmap_lock of the VM's mm.
 * Return: the LIOBN, or ERR_PTR(): -EINVAL for an impossible window, -EBUSY if the VM has
 * the LIOBN already, -ENOMEM without memory or if the view does not fit into RLIMIT_MEMLOCK.
 */
struct kvmppc_spapr_tce_table *
kvmppc_tce_table_create(struct kvm *kvm, const struct kvm_create_spapr_tce_64 *args)
{
	struct kvmppc_spapr_tce_table *stt;
	u64 max;
	int ret;

	if (args->page_shift < IOMMU_PAGE_SHIFT_4K || args->page_shift > 34)
		return ERR_PTR(-EINVAL);
	max = ULLONG_MAX >> args->page_shift;
	if (!args->size || args->size > max || args->offset > max - args->size)
		return ERR_PTR(-EINVAL);

	stt = kzalloc(sizeof(*stt), GFP_KERNEL_ACCOUNT);
	if (!stt)
		return ERR_PTR(-ENOMEM);

	stt->kvm = kvm;
	stt->liobn = args->liobn;
	stt->page_shift = args->page_shift;
	stt->offset = args->offset;
	stt->size = args->size;
	while ((stt->size - 1) >> (stt->shift + KVM_TCE_VIEW_SHIFT))
		stt->shift += KVM_TCE_VIEW_SHIFT;
	stt->pages = kvmppc_tce_view_pages(stt);
	INIT_LIST_HEAD_RCU(&stt->iommu_tables);
	INIT_LIST_HEAD(&stt->unused);

	ret = account_locked_vm(kvm->mm, stt->pages, true);
	if (ret)
		goto out_free;
	ret = kvmppc_tce_table_publish(stt);
	if (ret)
		goto out_uncharge;
	return stt;

out_uncharge:
	account_locked_vm(kvm->mm, stt->pages, false);
out_free:
	kfree(stt);
	return ERR_PTR(ret);
}

/*
 * Take @grp (all groups if NULL) off the hardware tables of a LIOBN, but not off @keep. Tables
 * without a group go to @unused.
 */
static void kvmppc_tce_detach(struct kvmppc_spapr_tce_table *stt, struct iommu_group *grp,
			      struct kvmppc_spapr_tce_iommu_table *keep,
			      struct list_head *unused)
{
	struct kvmppc_spapr_tce_iommu_table *hw, *hw_tmp;
	struct kvmppc_tce_group *link, *link_tmp;

	lockdep_assert_held(&stt->kvm->arch.tce_lock);
	list_for_each_entry_safe(hw, hw_tmp, &stt->iommu_tables, next) {
		if (hw == keep)
			continue;
		list_for_each_entry_safe(link, link_tmp, &hw->groups, next) {
			if (grp && link->grp != grp)
				continue;
			trace_kvm_tce_table(stt->liobn, iommu_group_id(link->grp), false);
			list_del(&link->next);
			kfree(link);
		}
		if (list_empty(&hw->groups)) {
			list_del_rcu(&hw->next);
			list_add(&hw->unused, unused);
		}
	}
}

/* No hypercall uses these any more. */
static void kvmppc_tce_put_unused(struct list_head *unused)
{
	struct kvmppc_spapr_tce_iommu_table *hw, *tmp;

	list_for_each_entry_safe(hw, tmp, unused, unused) {
		iommu_tce_table_put(hw->tbl);
		kfree(hw);
	}
}

static void kvmppc_tce_free_work(struct work_struct *work)
{
	struct kvm *kvm = container_of(work, struct kvm, arch.tce_free_work);
	struct kvmppc_spapr_tce_table *stt, *next;

	llist_for_each_entry_safe(stt, next, llist_del_all(&kvm->arch.tce_free), free) {
		kvmppc_tce_put_unused(&stt->unused);
		kvmppc_tce_view_free(stt->view, stt->shift);
		atomic_long_sub(stt->pages, &kvm->arch.tce_free_pages);
		kfree(stt);
		cond_resched();
	}
}

/* No hypercall uses the LIOBN any more. May not sleep here. */
static void kvmppc_tce_table_unseen(struct rcu_head *rcu)
{
	struct kvmppc_spapr_tce_table *stt =
		container_of(rcu, struct kvmppc_spapr_tce_table, rcu);
	struct kvm *kvm = stt->kvm;

	if (llist_add(&stt->free, &kvm->arch.tce_free))
		queue_work(system_unbound_wq, &kvm->arch.tce_free_work);
}

/* Wait until all that released LIOBNs left is freed. */
static void kvmppc_tce_drain(struct kvm *kvm)
{
	srcu_barrier(&kvm->srcu);
	flush_work(&kvm->arch.tce_free_work);
}

/**
 * kvmppc_tce_table_free() - the end of a LIOBN
 * @stt: from kvmppc_tce_table_create(); user space has no mapping of it
 *
 * The LIOBN can be created again, and its charge is given back, when this returns. The memory
 * is freed later: nobody waits for a grace period, unless the views of LIOBNs that are not
 * freed yet could have more than KVM_TCE_FREE_PAGES.
 *
 * Context: process context, may sleep; takes mmap_lock of the VM's mm.
 */
void kvmppc_tce_table_free(struct kvmppc_spapr_tce_table *stt)
{
	struct kvm *kvm = stt->kvm;
	bool drain;

	scoped_guard(mutex, &kvm->arch.tce_lock) {
		list_del(&stt->list);
		latch_tree_erase(&stt->node, &kvm->arch.tce_index, &kvmppc_tce_index_ops);
		kvmppc_tce_detach(stt, NULL, NULL, &stt->unused);
	}
	account_locked_vm(kvm->mm, stt->pages, false);
	drain = atomic_long_add_return(stt->pages, &kvm->arch.tce_free_pages) >
		KVM_TCE_FREE_PAGES;
	call_srcu(&kvm->srcu, &stt->rcu, kvmppc_tce_table_unseen);
	if (drain)
		kvmppc_tce_drain(kvm);
}

/**
 * kvmppc_tce_vm_init() - a VM without LIOBNs
 * @kvm: the VM, zeroed
 */
void kvmppc_tce_vm_init(struct kvm *kvm)
{
	seqcount_latch_init(&kvm->arch.tce_index.seq);
	mutex_init(&kvm->arch.tce_lock);
	init_llist_head(&kvm->arch.tce_free);
	INIT_WORK(&kvm->arch.tce_free_work, kvmppc_tce_free_work);
}

/**
 * kvmppc_tce_vm_free() - a VM's part of TCE hypercalls ends
 * @kvm: the VM, without vCPUs and LIOBNs
 *
 * Context: process context, sleeps until what LIOBNs left is freed.
 */
void kvmppc_tce_vm_free(struct kvm *kvm)
{
	kvmppc_tce_drain(kvm);
	WARN_ON(atomic_long_read(&kvm->arch.tce_free_pages));
}

static vm_fault_t kvm_spapr_tce_fault(struct vm_fault *vmf)
{
	struct kvmppc_spapr_tce_table *stt = vmf->vma->vm_file->private_data;
	u64 *word;

	if (vmf->pgoff > (stt->size - 1) >> KVM_TCE_VIEW_SHIFT)
		return VM_FAULT_SIGBUS;

	word = kvmppc_tce_word_alloc(stt, vmf->pgoff << KVM_TCE_VIEW_SHIFT);
	if (!word)
		return VM_FAULT_OOM;

	vmf->page = virt_to_page(word);
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct kvm_spapr_tce_vm_ops = {
	.fault = kvm_spapr_tce_fault,
};

static int kvm_spapr_tce_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &kvm_spapr_tce_vm_ops;
	return 0;
}

static int kvm_spapr_tce_release(struct inode *inode, struct file *file)
{
	struct kvmppc_spapr_tce_table *stt = file->private_data;
	struct kvm *kvm = stt->kvm;

	kvmppc_tce_table_free(stt);
	kvm_put_kvm(kvm);
	return 0;
}

static const struct file_operations kvm_spapr_tce_fops = {
	.owner		= THIS_MODULE,
	.mmap		= kvm_spapr_tce_mmap,
	.release	= kvm_spapr_tce_release,
};

/**
 * kvm_vm_ioctl_create_spapr_tce() - KVM_CREATE_SPAPR_TCE and KVM_CREATE_SPAPR_TCE_64
 * @kvm: the VM
 * @args: LIOBN and window; flags were checked
 *
 * Return: a file descriptor that user space maps and closes to end the LIOBN, or as
 * kvmppc_tce_table_create().
 */
int kvm_vm_ioctl_create_spapr_tce(struct kvm *kvm,
				  struct kvm_create_spapr_tce_64 *args)
{
	struct kvmppc_spapr_tce_table *stt;
	int ret;

	stt = kvmppc_tce_table_create(kvm, args);
	if (IS_ERR(stt))
		return PTR_ERR(stt);

	kvm_get_kvm(kvm);
	ret = anon_inode_getfd("kvm-spapr-tce", &kvm_spapr_tce_fops, stt,
			       O_RDWR | O_CLOEXEC);
	if (ret < 0) {
		kvmppc_tce_table_free(stt);
		kvm_put_kvm_no_destroy(kvm);
	}
	return ret;
}

/*
 * Hardware tables
 */

/* Does a hardware table cover a LIOBN's window, from the same bus address? */
static bool kvmppc_tce_fits(struct kvmppc_spapr_tce_table *stt,
			    struct iommu_table *tbl)
{
	unsigned int shift = tbl->it_page_shift;

	return shift <= stt->page_shift &&
	       tbl->it_offset << shift == stt->offset << stt->page_shift &&
	       tbl->it_size >= stt->size << (stt->page_shift - shift);
}

static struct kvmppc_spapr_tce_iommu_table *
kvmppc_tce_hw_find(struct kvmppc_spapr_tce_table *stt, struct iommu_table *tbl)
{
	struct kvmppc_spapr_tce_iommu_table *hw;

	lockdep_assert_held(&stt->kvm->arch.tce_lock);
	list_for_each_entry(hw, &stt->iommu_tables, next)
		if (hw->tbl == tbl)
			return hw;
	return NULL;
}

static bool kvmppc_tce_hw_has(struct kvmppc_spapr_tce_iommu_table *hw,
			      struct iommu_group *grp)
{
	struct kvmppc_tce_group *link;

	list_for_each_entry(link, &hw->groups, next)
		if (link->grp == grp)
			return true;
	return false;
}

/* @hw: of @tbl, NULL if it is not there yet. Return: that or a new one, NULL without memory. */
static struct kvmppc_spapr_tce_iommu_table *
kvmppc_tce_hw_add(struct kvmppc_spapr_tce_table *stt,
		  struct kvmppc_spapr_tce_iommu_table *hw, struct iommu_table *tbl,
		  struct iommu_group *grp)
{
	struct kvmppc_tce_group *link = kzalloc(sizeof(*link), GFP_KERNEL_ACCOUNT);

	lockdep_assert_held(&stt->kvm->arch.tce_lock);
	if (!link)
		return NULL;
	link->grp = grp;
	if (hw) {
		list_add(&link->next, &hw->groups);
		return hw;
	}
	hw = kzalloc(sizeof(*hw), GFP_KERNEL_ACCOUNT);
	if (!hw) {
		kfree(link);
		return NULL;
	}
	INIT_LIST_HEAD(&hw->groups);
	list_add(&link->next, &hw->groups);
	hw->tbl = iommu_tce_table_get(tbl);
	list_add_rcu(&hw->next, &stt->iommu_tables);
	return hw;
}

/**
 * kvmppc_tce_attach() - put a hardware table behind a LIOBN for a group
 * @stt: the LIOBN
 * @tbl: the table; its reference is the caller's and stays so
 * @grp: the group
 *
 * A group that had another table behind this LIOBN leaves that. At any time a hypercall finds
 * the old table or the new one, or both. All hypercalls that may have missed the new one are
 * over when this returns, so TCEs that the caller then reads from the view and maps in @tbl
 * are complete.
 *
 * Context: process context, sleeps for a grace period of kvm->srcu.
 * Return: 0, -EINVAL if the table's shape does not fit or nobody's addresses are in it,
 * -EPERM if they are another mm's, -ENOMEM.
 */
int kvmppc_tce_attach(struct kvmppc_spapr_tce_table *stt, struct iommu_table *tbl,
		      struct iommu_group *grp)
{
	struct kvmppc_spapr_tce_iommu_table *hw;
	struct kvm *kvm = stt->kvm;
	LIST_HEAD(unused);
	int ret;

	if (!kvmppc_tce_fits(stt, tbl))
		return -EINVAL;
	ret = iommu_tce_table_check_mm(tbl, kvm->mm);
	if (ret)
		return ret;

	scoped_guard(mutex, &kvm->arch.tce_lock) {
		hw = kvmppc_tce_hw_find(stt, tbl);
		if (hw && kvmppc_tce_hw_has(hw, grp))
			return 0;
		hw = kvmppc_tce_hw_add(stt, hw, tbl, grp);
		if (!hw)
			return -ENOMEM;
		trace_kvm_tce_table(stt->liobn, iommu_group_id(grp), true);
		kvmppc_tce_detach(stt, grp, hw, &unused);
	}
	synchronize_srcu_expedited(&kvm->srcu);
	kvmppc_tce_put_unused(&unused);
	return 0;
}

/**
 * kvm_spapr_tce_attach_iommu_group() - KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE
 * @kvm: the VM
 * @tablefd: a file of kvm_vm_ioctl_create_spapr_tce()
 * @grp: the group, whose container has a window like the LIOBN's
 *
 * Context: process context; the VFIO device's lock is held.
 * Return: 0, -EBADF, -EINVAL if the file is no LIOBN of @kvm or no window fits, or as
 * kvmppc_tce_attach().
 */
long kvm_spapr_tce_attach_iommu_group(struct kvm *kvm, int tablefd,
				      struct iommu_group *grp)
{
	struct iommu_table_group *table_group = iommu_group_get_iommudata(grp);
	struct kvmppc_spapr_tce_table *stt;
	struct iommu_table *tbl;
	long ret = -EINVAL;
	int i;

	CLASS(fd, f)(tablefd);

	if (fd_empty(f))
		return -EBADF;
	stt = fd_file(f)->private_data;
	if (fd_file(f)->f_op != &kvm_spapr_tce_fops || stt->kvm != kvm)
		return -EINVAL;
	if (!table_group)
		return -EFAULT;

	for (i = 0; ret == -EINVAL && i < IOMMU_TABLE_GROUP_MAX_TABLES; i++) {
		tbl = iommu_group_table_get(table_group, i);
		if (!tbl)
			continue;
		ret = kvmppc_tce_attach(stt, tbl, grp);
		iommu_tce_table_put(tbl);
	}
	return ret;
}

static bool kvmppc_tce_is_of(struct iommu_table *tbl, struct iommu_table_group *table_group)
{
	int i;

	for (i = 0; i < IOMMU_TABLE_GROUP_MAX_TABLES; i++)
		if (READ_ONCE(table_group->tables[i]) == tbl)
			return true;
	return false;
}

/* Let a hardware table that is there for @grp stay for @heir. */
static void kvmppc_tce_inherit(struct kvmppc_spapr_tce_table *stt,
			       struct kvmppc_spapr_tce_iommu_table *hw,
			       struct iommu_group *grp, struct iommu_group *heir)
{
	struct kvmppc_tce_group *link, *found = NULL;

	list_for_each_entry(link, &hw->groups, next) {
		if (link->grp == heir)
			return;
		if (link->grp == grp)
			found = link;
	}
	if (!found)
		return;
	trace_kvm_tce_table(stt->liobn, iommu_group_id(grp), false);
	found->grp = heir;
	trace_kvm_tce_table(stt->liobn, iommu_group_id(heir), true);
}

/**
 * kvm_spapr_tce_inherit_iommu_group() - a group that leaves may share tables with another
 * @kvm: the VM
 * @grp: the group that is about to be released
 * @heir: one that stays
 *
 * Tables that are behind LIOBNs on behalf of @grp, and are @heir's as well, stay there until
 * @heir is released. Needs no memory: what was @grp's place is @heir's.
 *
 * Context: process context.
 */
void kvm_spapr_tce_inherit_iommu_group(struct kvm *kvm, struct iommu_group *grp,
				       struct iommu_group *heir)
{
	struct iommu_table_group *table_group = iommu_group_get_iommudata(heir);
	struct kvmppc_spapr_tce_iommu_table *hw;
	struct kvmppc_spapr_tce_table *stt;

	if (!table_group)
		return;
	guard(mutex)(&kvm->arch.tce_lock);
	list_for_each_entry(stt, &kvm->arch.spapr_tce_tables, list)
		list_for_each_entry(hw, &stt->iommu_tables, next)
			if (kvmppc_tce_is_of(hw->tbl, table_group))
				kvmppc_tce_inherit(stt, hw, grp, heir);
}

/**
 * kvm_spapr_tce_release_iommu_group() - a group leaves the VM
 * @kvm: the VM
 * @grp: the group, attached to any number of LIOBNs, none included
 *
 * Context: process context; kvm->lock or the VFIO device's lock may be held. When it returns
 * no hypercall uses a table on behalf of @grp.
 */
void kvm_spapr_tce_release_iommu_group(struct kvm *kvm, struct iommu_group *grp)
{
	struct kvmppc_spapr_tce_table *stt;
	LIST_HEAD(unused);

	scoped_guard(mutex, &kvm->arch.tce_lock)
		list_for_each_entry(stt, &kvm->arch.spapr_tce_tables, list)
			kvmppc_tce_detach(stt, grp, NULL, &unused);

	if (!list_empty(&unused)) {
		synchronize_srcu_expedited(&kvm->srcu);
		kvmppc_tce_put_unused(&unused);
	}
}

/*
 * Hypercalls in virtual mode. Context of all but kvmppc_tce_hcall_at_once(): process
 * context, kvm->srcu not held.
 */

/* A call ran out of memory half way: leave its entries clear, everywhere. */
void kvmppc_tce_undo(struct kvmppc_spapr_tce_table *stt, unsigned long idx,
		     unsigned long n)
{
	struct kvmppc_spapr_tce_iommu_table *hw;
	struct iommu_user_gather g __uninitialized;
	unsigned int sub;

	list_for_each_entry_srcu(hw, &stt->iommu_tables, next,
				 srcu_read_lock_held(&stt->kvm->srcu)) {
		sub = stt->page_shift - hw->tbl->it_page_shift;
		iommu_user_begin(&g, hw->tbl);
		iommu_user_unmap(&g, (stt->offset + idx) << sub, n << sub);
		iommu_user_finish(&g);
	}
	kvmppc_tce_view_fill(stt, idx, 0, n);
}

/* Out of line: it needs a gather on the stack. */
noinline long kvmppc_tce_put_hw(struct kvm_vcpu *vcpu, struct iommu_table *tbl,
				unsigned long entry, unsigned long n,
				unsigned long ua, unsigned long perm)
{
	return kvmppc_tce_put_range(vcpu, tbl, entry, n, ua, perm, false);
}

/* References that real mode could not give back: see kvmppc_tce_owe(). */
static void kvmppc_tce_settle(struct kvm_vcpu *vcpu)
{
	if (likely(!vcpu->arch.tce_owed))
		return;
	rcu_read_lock();
	mm_iommu_map_put(vcpu->kvm->mm, vcpu->arch.tce_owed_ua, vcpu->arch.tce_owed);
	rcu_read_unlock();
	vcpu->arch.tce_owed = 0;
}

/**
 * kvmppc_tce_vcpu_free() - a vCPU's part of TCE hypercalls ends
 * @vcpu: the vCPU, which has stopped
 */
void kvmppc_tce_vcpu_free(struct kvm_vcpu *vcpu)
{
	kvmppc_tce_settle(vcpu);
	kfree(vcpu->arch.tce_list);
}

#define kvmppc_tce_count(vcpu, call, ret)				\
do {									\
	struct kvm_vcpu_stat *__stat = &(vcpu)->stat;			\
									\
	if ((ret) == H_TOO_HARD)					\
		__stat->tce_##call##_user++;				\
	else								\
		__stat->tce_##call##_virt++;				\
} while (0)

/**
 * kvmppc_h_get_tce() - H_GET_TCE
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the TCE
 *
 * Return: H_* code; the TCE in the guest's r4.
 */
long kvmppc_h_get_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
		      unsigned long ioba)
{
	int srcu = srcu_read_lock(&vcpu->kvm->srcu);
	long ret = kvmppc_tce_get(vcpu, liobn, ioba);

	srcu_read_unlock(&vcpu->kvm->srcu, srcu);
	kvmppc_tce_count(vcpu, get, ret);
	trace_kvm_tce_hcall(H_GET_TCE, liobn, ioba, 0, 1, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(kvmppc_h_get_tce);

/**
 * kvmppc_h_put_tce() - H_PUT_TCE
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address
 * @tce: guest physical address and permission bits
 *
 * Return: H_* code.
 */
long kvmppc_h_put_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
		      unsigned long ioba, unsigned long tce)
{
	int srcu = srcu_read_lock(&vcpu->kvm->srcu);
	long ret;

	kvmppc_tce_settle(vcpu);
	ret = kvmppc_tce_put(vcpu, liobn, ioba, tce, false);
	srcu_read_unlock(&vcpu->kvm->srcu, srcu);
	kvmppc_tce_count(vcpu, put, ret);
	trace_kvm_tce_hcall(H_PUT_TCE, liobn, ioba, tce, 1, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(kvmppc_h_put_tce);

/* Where H_PUT_TCE_INDIRECT copies its list to, for real mode too. Kept for the next. */
static struct kvmppc_tce_list *kvmppc_tce_list(struct kvm_vcpu *vcpu)
{
	if (!vcpu->arch.tce_list)
		vcpu->arch.tce_list = kmalloc(sizeof(*vcpu->arch.tce_list),
					      GFP_KERNEL_ACCOUNT);
	return vcpu->arch.tce_list;
}

static long kvmppc_tce_put_indirect(struct kvm_vcpu *vcpu, unsigned long liobn,
				    unsigned long ioba, unsigned long tce_list,
				    unsigned long npages)
{
	struct kvmppc_spapr_tce_table *stt = kvmppc_tce_find(vcpu->kvm, liobn);
	struct kvm_memory_slot *slot;
	struct kvmppc_tce_list *list;
	unsigned long idx, ua;

	if (!stt)
		return kvmppc_tce_too_hard(vcpu, liobn);
	if (npages > KVM_TCE_LIST || (tce_list & (SZ_4K - 1)) ||
	    !kvmppc_tce_in_window(stt, ioba, npages, &idx))
		return H_PARAMETER;

	slot = gfn_to_memslot(vcpu->kvm, tce_list >> PAGE_SHIFT);
	if (!slot)
		return H_PARAMETER;
	if (slot->flags & KVM_MEMSLOT_INVALID)
		return kvmppc_tce_too_hard(vcpu, args);
	ua = __gfn_to_hva_memslot(slot, tce_list >> PAGE_SHIFT) | offset_in_page(tce_list);

	list = kvmppc_tce_list(vcpu);
	if (!list)
		return H_NOT_ENOUGH_RESOURCES;
	if (copy_from_user(list->tce, (void __user *)ua, npages * sizeof(u64)))
		return kvmppc_tce_too_hard(vcpu, args);

	return kvmppc_tce_put_list(vcpu, stt, idx, (__be64 *)list->tce, list, npages,
				   false);
}

/**
 * kvmppc_h_put_tce_indirect() - H_PUT_TCE_INDIRECT
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the first
 * @tce_list: guest physical address of a 4K page of TCEs
 * @npages: how many TCEs
 *
 * Return: H_* code.
 */
long kvmppc_h_put_tce_indirect(struct kvm_vcpu *vcpu, unsigned long liobn,
			       unsigned long ioba, unsigned long tce_list,
			       unsigned long npages)
{
	int srcu = srcu_read_lock(&vcpu->kvm->srcu);
	long ret;

	kvmppc_tce_settle(vcpu);
	ret = kvmppc_tce_put_indirect(vcpu, liobn, ioba, tce_list, npages);
	srcu_read_unlock(&vcpu->kvm->srcu, srcu);
	kvmppc_tce_count(vcpu, indirect, ret);
	trace_kvm_tce_hcall(H_PUT_TCE_INDIRECT, liobn, ioba, tce_list, npages, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(kvmppc_h_put_tce_indirect);

/* Some of @npages, which are reduced by what was done. */
static long kvmppc_tce_stuff_some(struct kvm_vcpu *vcpu, unsigned long liobn,
				  unsigned long *ioba, unsigned long value,
				  unsigned long *npages)
{
	struct kvmppc_spapr_tce_table *stt = kvmppc_tce_find(vcpu->kvm, liobn);
	unsigned long idx, n;
	long ret;

	if (!stt)
		return kvmppc_tce_too_hard(vcpu, liobn);
	n = max(KVM_TCE_STUFF_MAX >> (stt->page_shift - IOMMU_PAGE_SHIFT_4K), 1UL);
	n = min(*npages, n);
	if ((value & KVM_TCE_PERM) ||
	    !kvmppc_tce_in_window(stt, *ioba, *npages, &idx))
		return H_PARAMETER;

	ret = kvmppc_tce_stuff(vcpu, stt, idx, value, n, false);
	*ioba += n << stt->page_shift;
	*npages -= n;
	return ret;
}

/**
 * kvmppc_h_stuff_tce() - H_STUFF_TCE
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the first
 * @tce_value: what to put, without permission bits
 * @npages: how many TCEs. PAPR stops at 512; older guests clear a whole window.
 *
 * Return: H_* code.
 */
long kvmppc_h_stuff_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
			unsigned long ioba, unsigned long tce_value,
			unsigned long npages)
{
	unsigned long at = ioba, left = npages;
	long ret;
	int srcu;

	for (;;) {
		srcu = srcu_read_lock(&vcpu->kvm->srcu);
		ret = kvmppc_tce_stuff_some(vcpu, liobn, &at, tce_value, &left);
		srcu_read_unlock(&vcpu->kvm->srcu, srcu);
		if (ret != H_SUCCESS || !left)
			break;
		if (fatal_signal_pending(current)) {
			ret = H_TOO_HARD;
			break;
		}
		cond_resched();
	}
	kvmppc_tce_count(vcpu, stuff, ret);
	trace_kvm_tce_hcall(H_STUFF_TCE, liobn, ioba, tce_value, npages, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(kvmppc_h_stuff_tce);

/* H_PUT_TCE, if everything is there. Else what has been done is right to do again. */
static __always_inline bool
kvmppc_tce_put_at_once(struct kvm_vcpu *vcpu, struct kvmppc_spapr_tce_table *stt,
		       unsigned long idx, unsigned long tce)
{
	unsigned long perm = tce & KVM_TCE_PERM, gpa = tce & ~KVM_TCE_PERM;
	unsigned long size = BIT(stt->page_shift), ua = 0;
	struct kvmppc_spapr_tce_iommu_table *hw;
	u64 *word = kvmppc_tce_word(stt, idx);

	if (!word && tce)
		return false;
	if (perm) {
		if (gpa & (size - 1))
			return false;
		ua = kvmppc_tce_page_ua(vcpu->kvm, gpa, perm, size, false);
		if (!ua)
			return false;
	}
	list_for_each_entry_lockless(hw, &stt->iommu_tables, next) {
		if (hw->tbl->it_page_shift != stt->page_shift ||
		    kvmppc_tce_put_one(hw->tbl, stt->offset + idx, ua, perm, false))
			return false;
	}
	if (word)
		WRITE_ONCE(*word, tce);
	return true;
}

/**
 * kvmppc_tce_hcall_at_once() - serve a TCE hypercall on the way out of the guest
 * @vcpu: the caller, whose registers hold an H_GET_TCE, H_PUT_TCE or H_STUFF_TCE
 *
 * For POWER9 and later, which have no real mode handlers: most of such a call's price is
 * the way to kvmppc_pseries_do_hcall() and back. What takes long, may sleep or ends in
 * an error goes there.
 *
 * Context: kvm->srcu held, interrupts off.
 * Return: true if it is done and the guest can go on; false if nobody need know that
 * this was tried.
 */
bool kvmppc_tce_hcall_at_once(struct kvm_vcpu *vcpu)
{
	unsigned long req = kvmppc_get_gpr(vcpu, 3);
	unsigned long liobn = kvmppc_get_gpr(vcpu, 4);
	unsigned long ioba = kvmppc_get_gpr(vcpu, 5);
	unsigned long value = kvmppc_get_gpr(vcpu, 6);
	struct kvmppc_spapr_tce_table *stt;
	unsigned long n = 1, idx;
	u64 *word;

	if (!test_bit(req / 4, vcpu->kvm->arch.enabled_hcalls))
		return false;
	stt = kvmppc_tce_find(vcpu->kvm, liobn);
	if (!stt || !kvmppc_tce_in_window(stt, ioba, 1, &idx))
		return false;

	switch (req) {
	case H_PUT_TCE:
		if (!kvmppc_tce_put_at_once(vcpu, stt, idx, value))
			return false;
		kvmppc_tce_count(vcpu, put, H_SUCCESS);
		break;
	case H_GET_TCE:
		word = kvmppc_tce_word(stt, idx);
		value = word ? READ_ONCE(*word) : 0;
		kvmppc_set_gpr(vcpu, 4, value);
		kvmppc_tce_count(vcpu, get, H_SUCCESS);
		break;
	default:
		n = kvmppc_get_gpr(vcpu, 7);
		if (value || n > KVM_TCE_LIST || n > stt->size - idx ||
		    !list_empty(&stt->iommu_tables))
			return false;
		kvmppc_tce_view_fill(stt, idx, 0, n);
		kvmppc_tce_count(vcpu, stuff, H_SUCCESS);
		break;
	}
	trace_kvm_tce_hcall(req, liobn, ioba, value, n, H_SUCCESS);
	kvmppc_set_gpr(vcpu, 3, H_SUCCESS);
	return true;
}
EXPORT_SYMBOL_GPL(kvmppc_tce_hcall_at_once);
