// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCE tables of KVM guests: the file that user space holds, the hardware tables of a LIOBN,
 * and hypercalls in virtual mode, which provides what tries lack. book3s_64_vio.h has results
 * and lifetime rules, book3s_64_vio_hv.c the tries.
 *
 * Objects. The file that KVM_CREATE_SPAPR_TCE returns owns a LIOBN. All LIOBNs of a VM are in
 * the list kvm->arch.spapr_tce_tables and in kvm->arch.tce_index, where hypercalls find them. A
 * LIOBN lists its hardware tables; an element of the list lives as long as any IOMMU group is
 * attached to it, and references the table. A group is attached to a LIOBN at most once, so
 * attaching it again changes nothing (or moves it to its new table), and groups may be
 * detached in any order.
 *
 * Memory. All pages that a view can have are charged to locked_vm when the LIOBN is created,
 * and uncharged when its file is released. A page is allocated on first use; that may fail
 * for lack of memory, but not for RLIMIT_MEMLOCK. A worker frees a released LIOBN after a grace
 * period of kvm->srcu: see kvmppc_tce_table_free().
 *
 * VFIO owns the hardware tables. It revokes a table before it releases it. From then on
 * hypercalls set no entry in it (iommu_user_revoke()).
 *
 * Locks: kvm->lock or the VFIO device's lock (held by callers or not) > kvm->arch.tce_lock.
 * None of them is held where the mm's mmap_lock is taken. Readers take only kvm->srcu.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/iommu.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/iommu_user.h>
#include <asm/kvm_book3s.h>
#include <asm/kvm_ppc.h>
#include <asm/mm_iommu.h>

#include "book3s_64_vio.h"

#define CREATE_TRACE_POINTS
#include "trace_vio.h"

/* If more pages of views than this wait to be freed, a release waits for them. 64 MiB */
#define KVM_TCE_FREE_PAGES	(SZ_64M >> PAGE_SHIFT)

/* 4K pages of the window that H_STUFF_TCE works on before it looks up the LIOBN again */
#define KVM_TCE_STUFF_MAX	BIT(16)

/* An IOMMU group that a hardware table is attached for */
struct kvmppc_tce_group {
	struct list_head next;
	struct iommu_group *grp;
};

/*
 * The view's pages
 */

/* Pages of a whole view, including those with pointers */
static unsigned long kvmppc_tce_gview_pages(struct kvmppc_spapr_tce_table *stt)
{
	unsigned long pages = 0;
	unsigned int shift;

	for (shift = KVM_TCE_GVIEW_SHIFT; ; shift += KVM_TCE_GVIEW_SHIFT) {
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
 * kvmppc_tce_word_alloc() - a word of the view; allocates missing pages on the way to it
 * @stt: the LIOBN
 * @idx: the TCE, from the window's start
 *
 * Context: process context, may sleep; page faults included.
 * Return: the word, or NULL without memory.
 */
u64 *kvmppc_tce_word_alloc(struct kvmppc_spapr_tce_table *stt, unsigned long idx)
{
	void **slot = &stt->gview, *page;
	unsigned int shift;

	for (shift = stt->shift; ; shift -= KVM_TCE_GVIEW_SHIFT) {
		page = kvmppc_tce_page_get(slot);
		if (!page)
			return NULL;
		if (!shift)
			return (u64 *)page + (idx & (KVM_TCE_GVIEW_WORDS - 1));
		slot = (void **)page + ((idx >> shift) & (KVM_TCE_GVIEW_WORDS - 1));
	}
}

static void kvmppc_tce_gview_free(void *page, unsigned int shift)
{
	unsigned long i;

	if (!page)
		return;
	for (i = 0; shift && i < KVM_TCE_GVIEW_WORDS; i++)
		kvmppc_tce_gview_free(((void **)page)[i], shift - KVM_TCE_GVIEW_SHIFT);
	cond_resched();
	/* A page that user space still references is freed with its last reference. */
	free_page((unsigned long)page);
}

/*
 * LIOBNs
 */

static __always_inline bool kvmppc_tce_liobn_less(struct latch_tree_node *a,
						  struct latch_tree_node *b)
{
	return container_of(a, struct kvmppc_spapr_tce_table, node)->liobn <
	       container_of(b, struct kvmppc_spapr_tce_table, node)->liobn;
}

/* For changes of the index; kvmppc_tce_find() has the other half, for look-ups. */
static const struct latch_tree_ops kvmppc_tce_liobn_order = {
	.less = kvmppc_tce_liobn_less,
};

/* The last step of creation: nothing may fail after it. */
static int kvmppc_tce_table_publish(struct kvmppc_spapr_tce_table *stt)
{
	struct kvm *kvm = stt->kvm;

	guard(mutex)(&kvm->arch.tce_lock);
	if (kvmppc_tce_find(kvm, stt->liobn))
		return -EBUSY;
	list_add_tail(&stt->list, &kvm->arch.spapr_tce_tables);
	latch_tree_insert(&stt->node, &kvm->arch.tce_index, &kvmppc_tce_liobn_order);
	return 0;
}

/**
 * kvmppc_tce_table_create() - create a LIOBN that the guest can use
 * @kvm: the VM
 * @args: as in KVM_CREATE_SPAPR_TCE_64
 *
 * Charges the whole view to locked_vm of the VM's mm; none of its pages exists yet.
 *
 * Context: process context, may sleep; takes mmap_lock of the VM's mm.
 * Return: the LIOBN, or ERR_PTR(): -EINVAL for an impossible window, -EBUSY if the VM has
 * the LIOBN already, -ENOMEM without memory or if the view does not fit into RLIMIT_MEMLOCK,
 * -EINTR on a fatal signal.
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

	stt = kzalloc_obj(*stt, GFP_KERNEL_ACCOUNT);
	if (!stt)
		return ERR_PTR(-ENOMEM);

	stt->kvm = kvm;
	stt->liobn = args->liobn;
	stt->page_shift = args->page_shift;
	stt->offset = args->offset;
	stt->size = args->size;
	while ((stt->size - 1) >> (stt->shift + KVM_TCE_GVIEW_SHIFT))
		stt->shift += KVM_TCE_GVIEW_SHIFT;
	stt->pages = kvmppc_tce_gview_pages(stt);
	INIT_LIST_HEAD_RCU(&stt->iommu_tables);

	ret = mm_iommu_charge(kvm->mm, stt->pages);
	if (ret)
		goto out_free;
	ret = kvmppc_tce_table_publish(stt);
	if (ret)
		goto out_uncharge;
	return stt;

out_uncharge:
	mm_iommu_uncharge(kvm->mm, stt->pages);
out_free:
	kfree(stt);
	return ERR_PTR(ret);
}

/*
 * Detach @grp (NULL: all groups) from the hardware tables of a LIOBN except @keep. Move tables
 * without a group to @unused.
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

/* Put detached hardware tables, after a grace period of kvm->srcu. */
static void kvmppc_tce_put_unused(struct list_head *unused)
{
	struct kvmppc_spapr_tce_iommu_table *hw, *tmp;

	list_for_each_entry_safe(hw, tmp, unused, unused) {
		iommu_tce_table_put(hw->tbl);
		kfree(hw);
	}
}

/* Wait until no hypercall uses detached hardware tables, and put them. */
static void kvmppc_tce_drop_unused(struct kvm *kvm, struct list_head *unused)
{
	if (list_empty(unused))
		return;
	/* reclaim-walker, with kvm->srcu */
	synchronize_srcu_expedited(&kvm->srcu);
	kvmppc_tce_put_unused(unused);
}

static void kvmppc_tce_free_work(struct work_struct *work)
{
	struct kvm *kvm = container_of(work, struct kvm, arch.tce_free_work);
	struct kvmppc_spapr_tce_table *stt, *next;

	llist_for_each_entry_safe(stt, next, llist_del_all(&kvm->arch.tce_free), free) {
		WARN_ON(!list_empty(&stt->iommu_tables));
		kvmppc_tce_gview_free(stt->gview, stt->shift);
		atomic_long_sub(stt->pages, &kvm->arch.tce_free_pages);
		kfree(stt);
		cond_resched();
	}
}

/* After a grace period no hypercall uses the LIOBN. Atomic context. */
static void kvmppc_tce_table_unseen(struct rcu_head *rcu)
{
	struct kvmppc_spapr_tce_table *stt =
		container_of(rcu, struct kvmppc_spapr_tce_table, rcu);
	struct kvm *kvm = stt->kvm;

	if (llist_add(&stt->free, &kvm->arch.tce_free))
		queue_work(system_long_wq, &kvm->arch.tce_free_work);
}

/* Wait until all released LIOBNs are freed. */
static void kvmppc_tce_drain(struct kvm *kvm)
{
	srcu_barrier(&kvm->srcu);
	flush_work(&kvm->arch.tce_free_work);
}

/**
 * kvmppc_tce_table_free() - release a LIOBN
 * @stt: from kvmppc_tce_table_create(); user space has no mapping of it
 *
 * When this returns, the LIOBN is uncharged and can be created again, and its hardware tables
 * are put: one that VFIO has put before is uncharged, too. The LIOBN's memory is freed later. The
 * caller waits for that only if the views of LIOBNs that are not freed yet may have more than
 * KVM_TCE_FREE_PAGES.
 *
 * Context: process context, may sleep; takes mmap_lock of the VM's mm. Waits for a grace period
 * of kvm->srcu if there are hardware tables.
 */
void kvmppc_tce_table_free(struct kvmppc_spapr_tce_table *stt)
{
	struct kvm *kvm = stt->kvm;
	LIST_HEAD(unused);
	bool drain;

	scoped_guard(mutex, &kvm->arch.tce_lock) {
		list_del(&stt->list);
		latch_tree_erase(&stt->node, &kvm->arch.tce_index, &kvmppc_tce_liobn_order);
		kvmppc_tce_detach(stt, NULL, NULL, &unused);
	}
	mm_iommu_uncharge(kvm->mm, stt->pages);
	drain = atomic_long_add_return(stt->pages, &kvm->arch.tce_free_pages) >
		KVM_TCE_FREE_PAGES;
	/* reclaim-walker, with kvm->srcu: hypercalls found the LIOBN before it was erased. */
	call_srcu(&kvm->srcu, &stt->rcu, kvmppc_tce_table_unseen);
	/* QEMU makes the next window at once, and this one's levels may be charged still. */
	kvmppc_tce_drop_unused(kvm, &unused);
	if (drain)
		kvmppc_tce_drain(kvm);
}

/**
 * kvmppc_tce_vm_init() - initialise a VM's state for LIOBNs
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
 * kvmppc_tce_vm_free() - end a VM's use of TCE hypercalls
 * @kvm: the VM, without vCPUs and LIOBNs
 *
 * Context: process context, sleeps until all released LIOBNs are freed.
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

	if (vmf->pgoff > (stt->size - 1) >> KVM_TCE_GVIEW_SHIFT)
		return VM_FAULT_SIGBUS;

	word = kvmppc_tce_word_alloc(stt, vmf->pgoff << KVM_TCE_GVIEW_SHIFT);
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
 * Return: a file descriptor that user space may map, and closes to release the LIOBN; or as
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

/* Add @grp to @hw, or to a new hardware table of @tbl if @hw is NULL. NULL: no memory. */
static struct kvmppc_spapr_tce_iommu_table *
kvmppc_tce_hw_add(struct kvmppc_spapr_tce_table *stt,
		  struct kvmppc_spapr_tce_iommu_table *hw, struct iommu_table *tbl,
		  struct iommu_group *grp)
{
	struct kvmppc_tce_group *link = kzalloc_obj(*link, GFP_KERNEL_ACCOUNT);

	lockdep_assert_held(&stt->kvm->arch.tce_lock);
	if (!link)
		return NULL;
	link->grp = grp;
	if (hw) {
		list_add(&link->next, &hw->groups);
		return hw;
	}
	hw = kzalloc_obj(*hw, GFP_KERNEL_ACCOUNT);
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
 * kvmppc_tce_attach() - attach a hardware table to a LIOBN for a group
 * @stt: the LIOBN
 * @tbl: the table; the caller keeps its reference
 * @grp: the group
 *
 * A group with another table of this LIOBN is detached from that. At any time a hypercall finds
 * the old table or the new one, or both. When this returns, all hypercalls that may have missed
 * the new table have ended, so the TCEs that the caller then reads from the view and maps in
 * @tbl are complete (attach.litmus).
 *
 * Context: process context, sleeps for a grace period of kvm->srcu.
 * Return: 0; -EINVAL if the table's shape does not fit or the table has no owner; -EPERM if its
 * owner is another mm; -ENOMEM.
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
	/* attach: pairs with the hypercalls' sections */
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

/* Attach a hardware table for @heir instead of @grp. Returns whether it is attached for @heir. */
static bool kvmppc_tce_inherit(struct kvmppc_spapr_tce_table *stt,
			       struct kvmppc_spapr_tce_iommu_table *hw,
			       struct iommu_group *grp, struct iommu_group *heir)
{
	struct kvmppc_tce_group *link, *found = NULL;

	lockdep_assert_held(&stt->kvm->arch.tce_lock);
	list_for_each_entry(link, &hw->groups, next) {
		if (link->grp == heir)
			return true;
		if (link->grp == grp)
			found = link;
	}
	if (!found)
		return false;
	trace_kvm_tce_table(stt->liobn, iommu_group_id(grp), false);
	found->grp = heir;
	trace_kvm_tce_table(stt->liobn, iommu_group_id(heir), true);
	return true;
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
 * Return: true if a table is behind a LIOBN on behalf of @heir now.
 */
bool kvm_spapr_tce_inherit_iommu_group(struct kvm *kvm, struct iommu_group *grp,
				       struct iommu_group *heir)
{
	struct iommu_table_group *table_group = iommu_group_get_iommudata(heir);
	struct kvmppc_spapr_tce_iommu_table *hw;
	struct kvmppc_spapr_tce_table *stt;
	bool any = false;

	if (!table_group)
		return false;
	guard(mutex)(&kvm->arch.tce_lock);
	list_for_each_entry(stt, &kvm->arch.spapr_tce_tables, list)
		list_for_each_entry(hw, &stt->iommu_tables, next)
			if (kvmppc_tce_is_of(hw->tbl, table_group))
				any |= kvmppc_tce_inherit(stt, hw, grp, heir);
	return any;
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

	might_sleep();
	scoped_guard(mutex, &kvm->arch.tce_lock)
		list_for_each_entry(stt, &kvm->arch.spapr_tce_tables, list)
			kvmppc_tce_detach(stt, grp, NULL, &unused);

	kvmppc_tce_drop_unused(kvm, &unused);
}

/*
 * Hypercalls in virtual mode. kvmppc_h_*() are called in process context, without kvm->srcu. They
 * hold it around the functions that follow.
 */

/* kvmppc_tce_registered() for any @n. Returns 0, -EFAULT, or -EINTR on a fatal signal. */
static int kvmppc_tce_registered_slow(struct iommu_table *tbl, unsigned long ua,
				      unsigned long n)
{
	bool ok = true;
	unsigned long k;

	/* A guest's IOMMU page can be 2^22 IOMMU pages of the table. */
	for (; ok && n; n -= k, ua += k << tbl->it_page_shift) {
		k = min(n, IOMMU_USER_TRY);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		scoped_guard(rcu)
			ok = kvmppc_tce_registered(tbl, ua, k);
	}
	return ok ? 0 : -EFAULT;
}

/* H_PUT_TCE or H_STUFF_TCE in a hardware table that takes no tries. Returns 0 or -errno. */
static int kvmppc_tce_range_slow(struct kvmppc_tce_call *c)
{
	struct iommu_table *tbl = c->hw->tbl;
	unsigned long n = c->n << (c->stt->page_shift - tbl->it_page_shift), done;
	enum dma_data_direction dir = kvmppc_tce_dir(c->value);
	unsigned long entry = c->ioba >> tbl->it_page_shift;
	unsigned long ua = dir == DMA_NONE ? 0 : c->ua;
	struct iommu_user_gather g __uninitialized;
	long ret = 0;

	/* A guest's IOMMU page is mapped whole or not at all. */
	if (dir != DMA_NONE && n > 1)
		ret = kvmppc_tce_registered_slow(tbl, ua, n);
	if (ret)
		return ret;
	iommu_user_begin(&g, tbl, false);
	if (dir == DMA_NONE)
		ret = iommu_user_unmap(&g, entry, n);
	else
		ret = iommu_user_map(&g, entry, n, ua, dir, &done);
	iommu_user_finish(&g);
	return min(ret, 0L);
}

/* A batch of a checked list, which begins with @tce */
static int kvmppc_tce_batch_slow(struct kvmppc_tce_call *c, struct iommu_user_gather *g,
				 unsigned long entry, const u64 *tce,
				 const struct kvmppc_tce_batch *batch)
{
	unsigned int sub = c->stt->page_shift - g->tbl->it_page_shift;
	enum dma_data_direction dir = kvmppc_tce_dir(batch->perm);
	unsigned long i, done;
	long ret = 0;

	if (!batch->perm) {
		ret = iommu_user_unmap(g, entry, batch->n << sub);
		return min(ret, 0L);
	}
	if (!sub)
		return iommu_user_map_list(g, entry, batch->n, tce, batch->delta, dir);
	for (i = 0; i < batch->n && !ret; i++)
		ret = iommu_user_map(g, entry + (i << sub), 1UL << sub, tce[i] + batch->delta, dir,
				     &done);
	return ret;
}

/* Is all memory of a checked list registered? Checks what list check and tries did not. */
static int kvmppc_tce_list_registered_slow(struct kvmppc_tce_call *c, struct iommu_table *tbl)
{
	unsigned int sub = c->stt->page_shift - tbl->it_page_shift;
	struct kvmppc_tce_batch batch;
	unsigned long i, end;
	int err = 0;

	if (!c->list->unregistered && tbl->it_page_shift <= PAGE_SHIFT)
		return 0;
	for (i = 0; i < c->n && !err; i = end) {
		kvmppc_tce_list_batch(c, i, &batch);
		end = i + batch.n;
		for (; batch.perm && i < end && !err; i++)
			err = kvmppc_tce_registered_slow(tbl, c->list->tce[i] + batch.delta,
							 1UL << sub);
	}
	return err;
}

/* H_PUT_TCE_INDIRECT in a hardware table that takes no tries */
static int kvmppc_tce_list_slow(struct kvmppc_tce_call *c)
{
	struct iommu_table *tbl = c->hw->tbl;
	struct iommu_user_gather g __uninitialized;
	struct kvmppc_tce_batch batch;
	unsigned long i, entry;
	int err;

	err = kvmppc_tce_list_registered_slow(c, tbl);
	if (err)
		return err;
	iommu_user_begin(&g, tbl, false);
	for (i = 0; i < c->n && !err; i += batch.n) {
		kvmppc_tce_list_batch(c, i, &batch);
		entry = (c->ioba + (i << c->stt->page_shift)) >> tbl->it_page_shift;
		err = kvmppc_tce_batch_slow(c, &g, entry, c->list->tce + i, &batch);
	}
	iommu_user_finish(&g);
	return err;
}

static long kvmppc_tce_do(struct kvmppc_tce_call *c);

/* A call ran out of memory half way: clear its entries in all hardware tables and the view. */
static void kvmppc_tce_undo(const struct kvmppc_tce_call *c)
{
	struct kvmppc_tce_call undo = {
		.nr = H_STUFF_TCE, .ioba = c->ioba, .n = c->n,
		.stt = c->stt, .slots = c->slots, .at = &c->stt->iommu_tables,
	};

	kvmppc_tce_do(&undo);
}

/* The result of a hypercall after an errno of a hardware table's operation */
static long kvmppc_tce_answer(struct kvmppc_tce_call *c, int err)
{
	switch (err) {
	case 0:
		return H_SUCCESS;
	case -ENOMEM:
		if (c->nr != H_STUFF_TCE)
			kvmppc_tce_undo(c);
		return H_NOT_ENOUGH_RESOURCES;
	case -EINTR:
		c->lack = KVM_TCE_LACK_TIME;
		break;
	case -ENODEV:
		c->lack = KVM_TCE_LACK_TABLE;
		break;
	default:
		c->lack = KVM_TCE_LACK_REGION;
	}
	return H_TOO_HARD;
}

/*
 * Provide what a try lacked. Returns H_SUCCESS to try again, or the call's result; H_TOO_HARD
 * if user space must serve the call.
 */
static long kvmppc_tce_provide(struct kvmppc_tce_call *c)
{
	int err;

	might_sleep();
	if (fatal_signal_pending(current) && c->lack >= KVM_TCE_LACK_GVIEW)
		return kvmppc_tce_answer(c, -EINTR);
	switch (c->lack) {
	case KVM_TCE_LACK_GVIEW:
		if (!kvmppc_tce_word_alloc(c->stt, c->entry))
			return H_NOT_ENOUGH_RESOURCES;
		return H_SUCCESS;
	case KVM_TCE_LACK_LEVEL:
	case KVM_TCE_LACK_LOCK:
		return kvmppc_tce_answer(c, iommu_user_provide(c->hw->tbl, c->entry, c->err));
	case KVM_TCE_LACK_SLEEP:
		if (c->nr == H_PUT_TCE_INDIRECT)
			err = kvmppc_tce_list_slow(c);
		else
			err = kvmppc_tce_range_slow(c);
		/* This hardware table is done. */
		if (!err)
			c->at = &c->hw->next;
		return kvmppc_tce_answer(c, err);
	default:
		return H_TOO_HARD;
	}
}

/* Try and provide until the call has a result. Context: after kvmppc_tce_begin(). */
static long kvmppc_tce_do(struct kvmppc_tce_call *c)
{
	long ret;

	lockdep_assert(srcu_read_lock_held(&c->stt->kvm->srcu));
	do {
		iommu_user_enter();
		ret = kvmppc_tce_try(c);
		iommu_user_leave();
		if (ret != H_TOO_HARD)
			return ret;
		ret = kvmppc_tce_provide(c);
	} while (ret == H_SUCCESS);
	return ret;
}

/**
 * kvmppc_tce_vcpu_free() - end a vCPU's use of TCE hypercalls
 * @vcpu: the vCPU, which has stopped
 */
void kvmppc_tce_vcpu_free(struct kvm_vcpu *vcpu)
{
	kfree(vcpu->arch.tce_list);
}

/* Count and trace a call that ended here, or that user space must serve. */
static void kvmppc_tce_end(struct kvm_vcpu *vcpu, const struct kvmppc_tce_call *c,
			   unsigned long liobn, long ret)
{
	struct kvm_vcpu_stat *stat = &vcpu->stat;
	const bool user = ret == H_TOO_HARD;
	enum kvmppc_tce_lack lack = user ? c->lack : vcpu->arch.tce_rm_lack;

	switch (c->nr) {
	case H_GET_TCE:
		(*(user ? &stat->tce_get_user : &stat->tce_get_virt))++;
		break;
	case H_PUT_TCE:
		(*(user ? &stat->tce_put_user : &stat->tce_put_virt))++;
		break;
	case H_PUT_TCE_INDIRECT:
		(*(user ? &stat->tce_indirect_user : &stat->tce_indirect_virt))++;
		break;
	default:
		(*(user ? &stat->tce_stuff_user : &stat->tce_stuff_virt))++;
	}
	vcpu->arch.tce_rm_lack = KVM_TCE_LACK_NOTHING;
	vcpu->arch.tce_lack = user ? c->lack : KVM_TCE_LACK_NOTHING;
	trace_kvm_tce_hcall(c, liobn, lack, ret);
}

/* H_GET_TCE or H_PUT_TCE */
static long kvmppc_tce_single(struct kvm_vcpu *vcpu, unsigned long nr, unsigned long liobn,
			      unsigned long ioba, unsigned long tce)
{
	struct kvmppc_tce_call c __uninitialized;
	int srcu = srcu_read_lock(&vcpu->kvm->srcu);
	long ret = H_TOO_HARD;

	if (kvmppc_tce_begin(&c, vcpu->kvm, nr, liobn, ioba, tce, 1))
		ret = kvmppc_tce_do(&c);
	if (ret == H_SUCCESS && nr == H_GET_TCE)
		kvmppc_set_gpr(vcpu, 4, c.value);
	kvmppc_tce_end(vcpu, &c, liobn, ret);
	srcu_read_unlock(&vcpu->kvm->srcu, srcu);
	return ret;
}

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
	return kvmppc_tce_single(vcpu, H_GET_TCE, liobn, ioba, 0);
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
	return kvmppc_tce_single(vcpu, H_PUT_TCE, liobn, ioba, tce);
}
EXPORT_SYMBOL_GPL(kvmppc_h_put_tce);

/* A list of one entry: an H_PUT_TCE */
static long kvmppc_tce_put_listed(struct kvmppc_tce_call *c, const __be64 __user *list)
{
	const unsigned long nr = c->nr, value = c->value;
	u64 tce;
	long ret;

	if (get_user(tce, (const u64 __user __force *)list))
		return H_TOO_HARD;
	c->nr = H_PUT_TCE;
	c->value = be64_to_cpu((__force __be64)tce);
	ret = kvmppc_tce_do(c);
	c->nr = nr;
	c->value = value;
	return ret;
}

/* Copy the guest's list at @gpa, check it, do the call. */
static long kvmppc_tce_put_indirect(struct kvm_vcpu *vcpu, struct kvmppc_tce_call *c,
				    unsigned long gpa)
{
	long ret = kvmppc_tce_list_args(c, gpa);
	struct kvm_memory_slot *slot;
	unsigned long ua;

	if (ret != H_SUCCESS)
		return ret;
	slot = __gfn_to_memslot(c->slots, gpa >> PAGE_SHIFT);
	if (!slot)
		return H_PARAMETER;
	c->lack = KVM_TCE_LACK_MEMORY;
	if (slot->flags & KVM_MEMSLOT_INVALID)
		return H_TOO_HARD;
	ua = __gfn_to_hva_memslot(slot, gpa >> PAGE_SHIFT) | offset_in_page(gpa);

	/* Keep it for the next call, and for real mode, which cannot allocate it. */
	if (!vcpu->arch.tce_list)
		vcpu->arch.tce_list = kmalloc_obj(*vcpu->arch.tce_list, GFP_KERNEL_ACCOUNT);
	c->list = vcpu->arch.tce_list;
	if (!c->list)
		return H_NOT_ENOUGH_RESOURCES;
	if (c->n == 1)
		return kvmppc_tce_put_listed(c, (__be64 __user *)ua);
	if (copy_from_user(c->list->tce, (void __user *)ua, c->n * sizeof(u64)))
		return H_TOO_HARD;

	scoped_guard(rcu)
		ret = kvmppc_tce_list_check(c, (__be64 *)c->list->tce);
	return ret == H_SUCCESS ? kvmppc_tce_do(c) : ret;
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
	struct kvmppc_tce_call c __uninitialized;
	int srcu = srcu_read_lock(&vcpu->kvm->srcu);
	long ret = H_TOO_HARD;

	if (kvmppc_tce_begin(&c, vcpu->kvm, H_PUT_TCE_INDIRECT, liobn, ioba, tce_list, npages))
		ret = kvmppc_tce_put_indirect(vcpu, &c, tce_list);
	kvmppc_tce_end(vcpu, &c, liobn, ret);
	srcu_read_unlock(&vcpu->kvm->srcu, srcu);
	return ret;
}
EXPORT_SYMBOL_GPL(kvmppc_h_put_tce_indirect);

/* Serve the first part of an H_STUFF_TCE. @c->n becomes its size. */
static long kvmppc_tce_stuff_some(struct kvmppc_tce_call *c)
{
	unsigned long most = KVM_TCE_STUFF_MAX >> (c->stt->page_shift - IOMMU_PAGE_SHIFT_4K);

	if (!kvmppc_tce_in_window(c->stt, c->ioba, c->n))
		return H_PARAMETER;
	c->n = min(c->n, max(most, 1UL));
	return kvmppc_tce_do(c);
}

/**
 * kvmppc_h_stuff_tce() - H_STUFF_TCE
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the first
 * @tce_value: what to put, without permission bits
 * @npages: how many TCEs. PAPR allows 512; older guests clear a whole window.
 *
 * Return: H_* code.
 */
long kvmppc_h_stuff_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
			unsigned long ioba, unsigned long tce_value,
			unsigned long npages)
{
	unsigned long at = ioba, left = npages;
	struct kvmppc_tce_call c __uninitialized;
	long ret;
	int srcu;

	for (;;) {
		srcu = srcu_read_lock(&vcpu->kvm->srcu);
		ret = H_TOO_HARD;
		if (kvmppc_tce_begin(&c, vcpu->kvm, H_STUFF_TCE, liobn, at, tce_value, left)) {
			ret = kvmppc_tce_stuff_some(&c);
			at += c.n << c.stt->page_shift;
		}
		srcu_read_unlock(&vcpu->kvm->srcu, srcu);
		left -= c.n;
		if (ret != H_SUCCESS || !left)
			break;
		if (fatal_signal_pending(current)) {
			c.lack = KVM_TCE_LACK_TIME;
			ret = H_TOO_HARD;
			break;
		}
		cond_resched();
	}
	c.ioba = ioba;
	c.n = npages;
	kvmppc_tce_end(vcpu, &c, liobn, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(kvmppc_h_stuff_tce);

/**
 * kvmppc_tce_hcall_at_once() - serve a TCE hypercall on the way out of the guest
 * @vcpu: the caller
 * @nr: H_GET_TCE, H_PUT_TCE or H_STUFF_TCE, whose arguments are in the registers from r4 on
 *
 * For POWER9 and later, which have no real mode handlers. Most of such a call's cost is the
 * way to kvmppc_pseries_do_hcall() and back; only a call that the try does not complete takes
 * it.
 *
 * Context: kvm->srcu held, interrupts off.
 * Return: true if the call is done and the guest can be entered. False: the call is to be
 * served as if it had not been tried.
 */
bool kvmppc_tce_hcall_at_once(struct kvm_vcpu *vcpu, unsigned long nr)
{
	struct kvmppc_tce_call c __uninitialized;
	unsigned long liobn = kvmppc_get_gpr(vcpu, 4), n = 1;
	long ret;

	lockdep_assert(srcu_read_lock_held(&vcpu->kvm->srcu));
	if (!test_bit(nr / 4, vcpu->kvm->arch.enabled_hcalls))
		return false;
	if (nr == H_STUFF_TCE)
		n = kvmppc_get_gpr(vcpu, 7);
	if (n > KVM_TCE_LIST ||
	    !kvmppc_tce_begin(&c, vcpu->kvm, nr, liobn, kvmppc_get_gpr(vcpu, 5),
			      kvmppc_get_gpr(vcpu, 6), n))
		return false;

	iommu_user_enter();
	ret = kvmppc_tce_try(&c);
	iommu_user_leave();
	if (ret == H_TOO_HARD)
		return false;

	if (nr == H_GET_TCE && ret == H_SUCCESS)
		kvmppc_set_gpr(vcpu, 4, c.value);
	kvmppc_set_gpr(vcpu, 3, ret);
	kvmppc_tce_end(vcpu, &c, liobn, ret);
	return true;
}
EXPORT_SYMBOL_GPL(kvmppc_tce_hcall_at_once);
