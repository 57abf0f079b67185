/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCE hypercalls of a guest: the data and the body that both modes share.
 *
 * A LIOBN names a window of the guest's bus address space. Behind it are the *view*,
 * the TCEs as the guest wrote them, which user space maps, reads and writes; and no,
 * one or several hardware tables, one per VFIO container, in which the same TCEs are
 * kept translated. A hypercall changes the hardware tables first, the view last.
 *
 * This file is compiled twice: by book3s_64_vio.c for virtual mode (@rm false) and by
 * book3s_64_vio_hv.c for real mode (@rm true; MMU off, not instrumented). What is
 * not under an "if (rm)" may neither sleep nor print, and touches only the linear map.
 *
 * Answers, the same in both modes (PAPR: LoPAR, 14.5.4.2)
 *   H_PARAMETER             ioba not aligned or not in the window; list not aligned, too
 *                           long, or nowhere in guest memory; an entry with permissions
 *                           that is not aligned; H_STUFF_TCE of a value with permissions
 *   H_NOT_ENOUGH_RESOURCES  no memory for a page of the view: nothing has been changed, but for
 *                           H_STUFF_TCE of more than 256 MiB of the window, which does so much
 *                           at a time: what came before is done; or for a level of a hardware
 *                           table: the entries of this call are clear
 *   H_TOO_HARD              to be done one level up: real mode, virtual mode, user space.
 *                           Doing the whole call once more, up there, is right.
 * An entry without permission bits clears; its other bits are kept in the view (poison).
 *
 * Lifetime. LIOBNs, their hardware tables' links, the view and memory slots are freed
 * after a grace period of kvm->srcu. Virtual mode handlers hold it; a vCPU in real mode
 * runs inside the kvm->srcu section of kvmppc_run_core(), and kvmppc_tce_hcall_at_once()
 * inside that of kvmhv_run_single_vcpu(). Levels of hardware tables and regions are
 * covered by RCU, which iommu_user_*() sees to.
 */
#ifndef BOOK3S_64_VIO_H
#define BOOK3S_64_VIO_H

#include <linux/kvm_host.h>
#include <linux/llist.h>
#include <linux/nospec.h>
#include <linux/rbtree_latch.h>
#include <linux/rculist.h>
#include <linux/sizes.h>
#include <asm/cache.h>
#include <asm/hvcall.h>
#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/kvm_book3s.h>
#include <asm/kvm_ppc.h>
#include <asm/mm_iommu.h>
#include <asm/tce.h>

#define KVM_TCE_PERM		(TCE_PCI_READ | TCE_PCI_WRITE)

/* PAPR: a list is one 4K page; more than that in one go never happens in real mode */
#define KVM_TCE_LIST		512UL

/**
 * struct kvmppc_tce_list - a vCPU's copy of what H_PUT_TCE_INDIRECT is given
 * @tce: the entries
 * @run: where a run of entries begins, its length; see kvmppc_tce_list_check()
 * @unregistered: a device is to reach a page that is not wholly in one region
 * @slots: guest memory as it was when the entries were looked at
 */
struct kvmppc_tce_list {
	u64 tce[KVM_TCE_LIST];
	u16 run[KVM_TCE_LIST];
	bool unregistered;
	struct kvm_memslots *slots;
};

/* A page of the view's tree: TCEs, or pointers to such pages */
#define KVM_TCE_VIEW_SHIFT	(PAGE_SHIFT - 3)
#define KVM_TCE_VIEW_WORDS	BIT(KVM_TCE_VIEW_SHIFT)

/**
 * struct kvmppc_spapr_tce_iommu_table - one hardware table behind a LIOBN
 * @next: in the LIOBN's list; added and removed under kvm->arch.tce_lock
 * @tbl: the table, referenced
 * @groups: the IOMMU groups it was attached for (kvm->arch.tce_lock); never empty
 * @unused: in a list of those that were taken off
 */
struct kvmppc_spapr_tce_iommu_table {
	struct list_head next;
	struct iommu_table *tbl;
	struct list_head groups;
	struct list_head unused;
};

/**
 * struct kvmppc_spapr_tce_table - a LIOBN
 * @list: in kvm->arch.spapr_tce_tables (kvm->arch.tce_lock)
 * @node: in kvm->arch.tce_index; added and removed under kvm->arch.tce_lock, found under
 *	kvm->srcu
 * @kvm: the VM, referenced by the table's file
 * @liobn: its name
 * @page_shift: log2 of the guest's IOMMU page
 * @offset: first TCE of the window, counted from bus address 0
 * @size: TCEs in the window
 * @iommu_tables: hardware tables
 * @shift: bits of a TCE's number that the top page leaves open: 0, or so many pointer
 *	pages' on the way to the page of TCEs
 * @view: top page of the tree; a missing page reads as zeros. Set by cmpxchg, never
 *	cleared before the end, so readers need no lock.
 * @pages: pages that the whole tree can have, all charged to the mm's locked_vm
 * @unused: hardware tables of a released LIOBN, dropped with it
 * @rcu: waits for kvm->srcu when the LIOBN is released
 * @free: in kvm->arch.tce_free after that
 *
 * What has no lock above is set before the LIOBN can be found, and never changes.
 */
struct kvmppc_spapr_tce_table {
	struct list_head list;
	struct latch_tree_node node;
	struct kvm *kvm;
	u64 liobn;
	u32 page_shift;
	u64 offset;
	u64 size;
	struct list_head iommu_tables;
	unsigned int shift;
	void *view;
	unsigned long pages;
	struct list_head unused;
	struct rcu_head rcu;
	struct llist_node free;
};

/* Count why a call goes up. One that real and virtual mode pass on counts twice. */
#define kvmppc_tce_too_hard(vcpu, why)					\
({									\
	(vcpu)->stat.tce_too_hard_##why++;				\
	H_TOO_HARD;							\
})

static __always_inline bool
kvmppc_tce_liobn_less(struct latch_tree_node *a, struct latch_tree_node *b)
{
	return container_of(a, struct kvmppc_spapr_tce_table, node)->liobn <
	       container_of(b, struct kvmppc_spapr_tce_table, node)->liobn;
}

static __always_inline int
kvmppc_tce_liobn_cmp(void *key, struct latch_tree_node *node)
{
	unsigned long liobn = (unsigned long)key;
	u64 other = container_of(node, struct kvmppc_spapr_tce_table, node)->liobn;

	return liobn < other ? -1 : liobn > other;
}

static const struct latch_tree_ops kvmppc_tce_index_ops = {
	.less = kvmppc_tce_liobn_less,
	.comp = kvmppc_tce_liobn_cmp,
};

/* O(log n), never waits. Context: kvm->srcu, or kvm->arch.tce_lock. */
static __always_inline struct kvmppc_spapr_tce_table *
kvmppc_tce_find(struct kvm *kvm, unsigned long liobn)
{
	struct latch_tree_node *node = latch_tree_find((void *)liobn, &kvm->arch.tce_index,
						       &kvmppc_tce_index_ops);

	return node ? container_of(node, struct kvmppc_spapr_tce_table, node) : NULL;
}

/* Are @n TCEs from @ioba in the window? Then *@idx is the first, from the window's start. */
static __always_inline bool
kvmppc_tce_in_window(struct kvmppc_spapr_tce_table *stt, unsigned long ioba,
		     unsigned long n, unsigned long *idx)
{
	if (ioba & (BIT(stt->page_shift) - 1))
		return false;
	*idx = (ioba >> stt->page_shift) - stt->offset;
	if (__builtin_constant_p(n) && n == 1)
		return *idx < stt->size;
	return *idx <= stt->size && n <= stt->size - *idx;
}

/* The word of TCE @idx in the view, NULL if its page is missing. Never out of bounds. */
static __always_inline u64 *
kvmppc_tce_word(struct kvmppc_spapr_tce_table *stt, unsigned long idx)
{
	unsigned int shift = stt->shift;
	void *p = READ_ONCE(stt->view);

	while (shift && p) {
		p = READ_ONCE(((void **)p)[(idx >> shift) & (KVM_TCE_VIEW_WORDS - 1)]);
		shift -= KVM_TCE_VIEW_SHIFT;
		/* A step or two: gcc would go to great lengths to do two at a time. */
		OPTIMIZER_HIDE_VAR(shift);
	}
	return p ? (u64 *)p + (idx & (KVM_TCE_VIEW_WORDS - 1)) : NULL;
}

u64 *kvmppc_tce_word_alloc(struct kvmppc_spapr_tce_table *stt, unsigned long idx);
void kvmppc_tce_undo(struct kvmppc_spapr_tce_table *stt, unsigned long idx,
		     unsigned long n);

struct kvmppc_spapr_tce_table *
kvmppc_tce_table_create(struct kvm *kvm, const struct kvm_create_spapr_tce_64 *args);
void kvmppc_tce_table_free(struct kvmppc_spapr_tce_table *stt);
int kvmppc_tce_attach(struct kvmppc_spapr_tce_table *stt, struct iommu_table *tbl,
		      struct iommu_group *grp);

/**
 * struct kvmppc_tce_slot - the memory slot of the last address that was looked up
 * @slots: where to look
 * @first: guest physical address of its first byte
 * @span: an IOMMU page that starts less than this behind @first is wholly inside
 * @ua: user address of its first byte
 * @perm: permissions a device may have on it
 */
struct kvmppc_tce_slot {
	struct kvm_memslots *slots;
	unsigned long first;
	unsigned long span;
	unsigned long ua;
	unsigned long perm;
};

/*
 * Guest memory as a hypercall sees it, to be asked for once in each: it may change at any
 * time. What it was is kept until kvm->srcu is let go.
 */
static __always_inline struct kvm_memslots *
kvmppc_tce_memslots(struct kvm *kvm, bool rm)
{
#ifdef CONFIG_KVM_BOOK3S_HV_POSSIBLE
	if (rm)
		return kvm_memslots_raw(kvm);
#endif
	return kvm_memslots(kvm);
}

/* Is the IOMMU page at @gpa in guest memory that a device may access so? */
static __always_inline bool
kvmppc_tce_slot_find(unsigned long gpa, unsigned long perm, unsigned long size,
		     struct kvmppc_tce_slot *s)
{
	struct kvm_memory_slot *slot;
	unsigned long len;

	if (gpa - s->first < s->span)
		return !(perm & ~s->perm);
	slot = __gfn_to_memslot(s->slots, gpa >> PAGE_SHIFT);
	if (!slot || (slot->flags & KVM_MEMSLOT_INVALID))
		return false;
	len = slot->npages << PAGE_SHIFT;
	s->first = slot->base_gfn << PAGE_SHIFT;
	s->span = len >= size ? len - size + 1 : 0;
	s->ua = slot->userspace_addr;
	s->perm = slot->flags & KVM_MEM_READONLY ? TCE_PCI_READ : KVM_TCE_PERM;
	return gpa - s->first < s->span && !(perm & ~s->perm);
}

/* The same for one page only; its user address, or 0. */
static __always_inline unsigned long
kvmppc_tce_page_ua(struct kvm *kvm, unsigned long gpa, unsigned long perm,
		   unsigned long size, bool rm)
{
	struct kvmppc_tce_slot s = { .slots = kvmppc_tce_memslots(kvm, rm) };
	struct kvm_memory_slot *slot = __gfn_to_memslot(s.slots, gpa >> PAGE_SHIFT);

	if (unlikely(!slot))
		return 0;
	if (unlikely(size > PAGE_SIZE ||
		     (slot->flags & (KVM_MEMSLOT_INVALID | KVM_MEM_READONLY)))) {
		if (!kvmppc_tce_slot_find(gpa, perm, size, &s))
			return 0;
	}
	return __gfn_to_hva_memslot(slot, gpa >> PAGE_SHIFT) + offset_in_page(gpa);
}

/* The user address of @gpa, which kvmppc_tce_slot_find() has just found in @s. */
static __always_inline unsigned long
kvmppc_tce_slot_ua(struct kvmppc_tce_slot *s, unsigned long gpa)
{
	return s->ua + array_index_nospec(gpa - s->first, s->span);
}

static __always_inline enum dma_data_direction kvmppc_tce_dir(unsigned long perm)
{
	if (likely(perm == KVM_TCE_PERM))
		return DMA_BIDIRECTIONAL;
	if (!perm)
		return DMA_NONE;
	return perm == TCE_PCI_READ ? DMA_TO_DEVICE : DMA_FROM_DEVICE;
}

/* The answer to an errno of iommu_user_*() in a call for @n TCEs from @idx on. */
static __always_inline long
kvmppc_tce_failed(struct kvm_vcpu *vcpu, struct kvmppc_spapr_tce_table *stt,
		  unsigned long idx, unsigned long n, long err, bool rm)
{
	if (err == -ENOMEM && !rm) {
		kvmppc_tce_undo(stt, idx, n);
		return H_NOT_ENOUGH_RESOURCES;
	}
	/* The vCPU's thread is being killed: nobody goes on with this call. */
	if (err == -EINTR)
		return H_TOO_HARD;
	if (err == -ENOENT)
		return kvmppc_tce_too_hard(vcpu, level);
	if (err == -EAGAIN)
		return kvmppc_tce_too_hard(vcpu, contended);
	if (err == -ENODEV || err == -EOPNOTSUPP)
		return kvmppc_tce_too_hard(vcpu, mode);
	return kvmppc_tce_too_hard(vcpu, unregistered);
}

/*
 * Can @n entries of a table lead to the user memory from @ua on? Asked before anything
 * is changed, so that memory which isn't registered leaves everything as it was. Pins (v1)
 * can't be foreseen.
 */
static __always_inline bool
kvmppc_tce_known(struct iommu_table *tbl, unsigned long ua, unsigned long n, bool rm)
{
	unsigned long hpa, mask = BIT(tbl->it_page_shift) - 1;
	unsigned long left = n << tbl->it_page_shift;
	long len;

	if (tbl->it_pins)
		return true;
	for (; left; left -= len, ua += len) {
		if (rm) {
			len = mm_iommu_translate(tbl->it_mm, ua, &hpa);
		} else {
			/* A guest's page can be 2^22 of the smallest, a list 512 such. */
			if (fatal_signal_pending(current))
				return true;	/* what can't be mapped is met while mapping */
			cond_resched();
			rcu_read_lock();
			len = mm_iommu_translate(tbl->it_mm, ua, &hpa);
			rcu_read_unlock();
		}
		if (len <= (long)mask || (hpa & mask))
			return false;
		len = min((unsigned long)len & ~mask, left);
	}
	return true;
}

/*
 * Map @n entries from @entry to one run of user memory. On error some may have been
 * set: doing it again is right, undoing is clearing.
 */
static __always_inline long
kvmppc_tce_map(struct kvm_vcpu *vcpu, struct iommu_user_gather *g,
	       unsigned long entry, unsigned long n, unsigned long ua,
	       unsigned long perm, bool rm)
{
	enum dma_data_direction dir = kvmppc_tce_dir(perm);
	unsigned long done;

	if (!rm)
		return iommu_user_map(g, entry, n, ua, dir, &done);
	return iommu_user_try_map(g, entry, n, ua, dir);
}

static __always_inline long
kvmppc_tce_unmap(struct iommu_user_gather *g, unsigned long entry,
		 unsigned long n, bool rm)
{
	if (rm)
		return iommu_user_try_unmap(g, entry, n);
	iommu_user_unmap(g, entry, n);
	return 0;
}

static __always_inline long
kvmppc_tce_finish(struct iommu_user_gather *g, long err, bool rm)
{
	long ret;

	if (rm) {
		ret = iommu_user_try_finish(g);
		return err ?: ret;
	}
	iommu_user_finish(g);
	return err;
}

static __always_inline long
kvmppc_tce_put_one(struct iommu_table *tbl, unsigned long entry, unsigned long ua,
		   unsigned long perm, bool rm)
{
	long ret;

	if (!rm)
		iommu_user_enter();
	ret = iommu_user_try_one(tbl, entry, ua, kvmppc_tce_dir(perm), rm);
	if (!rm)
		iommu_user_leave();
	return min(ret, 0L);
}

/* Real mode does a table's part only if it can do all of it. */
static __always_inline bool
kvmppc_tce_mode_ok(struct iommu_table *tbl, unsigned long n, bool rm)
{
	return !rm || (n <= KVM_TCE_LIST && !iommu_user_try_ready(tbl, DMA_NONE, true));
}

/* H_GET_TCE. Context: kvm->srcu. */
static __always_inline long
kvmppc_tce_get(struct kvm_vcpu *vcpu, unsigned long liobn, unsigned long ioba)
{
	struct kvmppc_spapr_tce_table *stt = kvmppc_tce_find(vcpu->kvm, liobn);
	unsigned long idx;
	u64 *word;

	if (!stt)
		return kvmppc_tce_too_hard(vcpu, liobn);
	if (!kvmppc_tce_in_window(stt, ioba, 1, &idx))
		return H_PARAMETER;
	word = kvmppc_tce_word(stt, idx);
	kvmppc_set_gpr(vcpu, 4, word ? READ_ONCE(*word) : 0);
	return H_SUCCESS;
}

/* The hardware table's part of H_PUT_TCE, the general way. */
static __always_inline long
kvmppc_tce_put_range(struct kvm_vcpu *vcpu, struct iommu_table *tbl,
		     unsigned long entry, unsigned long n, unsigned long ua,
		     unsigned long perm, bool rm)
{
	struct iommu_user_gather g __uninitialized;
	long err;

	if (!kvmppc_tce_mode_ok(tbl, n, rm))
		return -ENODEV;
	/* One entry is mapped or not; a larger guest page could be mapped in part. */
	if (perm && n > 1 && !kvmppc_tce_known(tbl, ua, n, rm))
		return -EFAULT;
	iommu_user_begin_mode(&g, tbl, rm);
	if (perm)
		err = kvmppc_tce_map(vcpu, &g, entry, n, ua, perm, rm);
	else
		err = kvmppc_tce_unmap(&g, entry, n, rm);
	return kvmppc_tce_finish(&g, err, rm);
}

long kvmppc_tce_put_hw(struct kvm_vcpu *vcpu, struct iommu_table *tbl,
		       unsigned long entry, unsigned long n, unsigned long ua,
		       unsigned long perm);
long kvmppc_rm_tce_put_hw(struct kvm_vcpu *vcpu, struct iommu_table *tbl,
			  unsigned long entry, unsigned long n, unsigned long ua,
			  unsigned long perm);

/* H_PUT_TCE. Context: kvm->srcu. */
static __always_inline long
kvmppc_tce_put(struct kvm_vcpu *vcpu, unsigned long liobn, unsigned long ioba,
	       unsigned long tce, bool rm)
{
	struct kvmppc_spapr_tce_table *stt = kvmppc_tce_find(vcpu->kvm, liobn);
	unsigned long perm = tce & KVM_TCE_PERM, gpa = tce & ~KVM_TCE_PERM;
	struct kvmppc_spapr_tce_iommu_table *hw;
	unsigned long idx, entry, size, ua = 0;
	unsigned int sub;
	u64 *word;
	long err;

	if (!stt)
		return kvmppc_tce_too_hard(vcpu, liobn);
	if (!kvmppc_tce_in_window(stt, ioba, 1, &idx))
		return H_PARAMETER;
	if (perm) {
		size = BIT(stt->page_shift);
		if (gpa & (size - 1))
			return H_PARAMETER;
		ua = kvmppc_tce_page_ua(vcpu->kvm, gpa, perm, size, rm);
		if (unlikely(!ua))
			return kvmppc_tce_too_hard(vcpu, args);
	}

	/* Nothing may fail behind the hardware's back: the view's page first. */
	word = kvmppc_tce_word(stt, idx);
	if (unlikely(!word) && tce) {
		if (rm)
			return kvmppc_tce_too_hard(vcpu, level);
		word = kvmppc_tce_word_alloc(stt, idx);
		if (!word)
			return H_NOT_ENOUGH_RESOURCES;
	}

	list_for_each_entry_lockless(hw, &stt->iommu_tables, next) {
		sub = stt->page_shift - hw->tbl->it_page_shift;
		entry = (stt->offset + idx) << sub;
		err = -EAGAIN;
		if (likely(!sub))
			err = kvmppc_tce_put_one(hw->tbl, entry, ua, perm, rm);
		if (likely(!err))
			continue;
		/* Not found may mean that regions come and go: the general way waits. */
		if (err != -ENODEV && !(rm && (err == -EFAULT || err == -ENOENT)))
			err = (rm ? kvmppc_rm_tce_put_hw : kvmppc_tce_put_hw)
				(vcpu, hw->tbl, entry, 1UL << sub, ua, perm);
		if (unlikely(err))
			return kvmppc_tce_failed(vcpu, stt, idx, 1, err, rm);
	}

	if (word)
		WRITE_ONCE(*word, tce);
	return H_SUCCESS;
}

/*
 * Limit what begins at @first and is @span long, in guest memory of @slot, to the region
 * that the page at @gpa is wholly in. False if there is none.
 */
static __always_inline bool
kvmppc_tce_in_region(struct kvm *kvm, const struct kvmppc_tce_slot *slot,
		     unsigned long gpa, unsigned long size, unsigned long *first,
		     unsigned long *span, bool rm)
{
	unsigned long ua = slot->ua + (gpa - slot->first), start, len, before, after;
	bool found;

	if (!rm)
		rcu_read_lock();
	found = mm_iommu_extent(kvm->mm, ua, &start, &len);
	if (!rm)
		rcu_read_unlock();
	if (!found)
		return false;
	before = ua - start;
	after = len - before;
	if (after < size)
		return false;
	after = min(after - size + 1, slot->span - (gpa - slot->first));
	before = min(before, gpa - slot->first);
	*first = gpa - before;
	*span = before + after;
	return true;
}

/*
 * Copy @n entries from @src to @list, each read once, and look at them before any is used:
 * what the guest does to its page meanwhile makes no difference. Entries that clear make
 * runs, and so do entries with the same permissions whose pages are in one slot, in
 * whatever order; with @regions, in one region too. @src may be @list->tce itself.
 * Return: H_SUCCESS if all are good; nothing has been changed otherwise.
 */
static __always_inline long
kvmppc_tce_list_check(struct kvm_vcpu *vcpu, struct kvmppc_spapr_tce_table *stt,
		      const __be64 *src, struct kvmppc_tce_list *list,
		      unsigned long n, bool regions, bool rm)
{
	const unsigned int shift = stt->page_shift, back = BITS_PER_LONG - shift;
	unsigned long i = 0, first, from, span, before, last, tce, gpa, perm;
	const unsigned long size = BIT(shift);
	struct kvmppc_tce_slot slot = { .slots = kvmppc_tce_memslots(vcpu->kvm, rm) };
	bool hard = false;

	list->slots = slot.slots;
	list->unregistered = false;
	if (!n)
		return H_SUCCESS;
	tce = iommu_tce_load(src);
	do {
		first = i;
		perm = tce & KVM_TCE_PERM;
		if (!perm) {
			do {
				list->tce[i] = tce;
				if (++i == n)
					break;
				tce = iommu_tce_load(++src);
			} while (!(tce & KVM_TCE_PERM));
			list->run[first] = i - first;
			continue;
		}
		gpa = tce ^ perm;
		if (unlikely(gpa & (size - 1)))
			return H_PARAMETER;
		from = gpa;
		span = 1;
		if (unlikely(!kvmppc_tce_slot_find(gpa, perm, size, &slot))) {
			hard = true;
		} else if (!regions) {
			from = slot.first;
			span = slot.span;
		} else if (!kvmppc_tce_in_region(vcpu->kvm, &slot, gpa, size, &from,
						 &span, rm)) {
			list->unregistered = true;
		}
		/* Rotated, what is not a multiple of the page size is too far as well. */
		before = (gpa - from) >> shift;
		last = before + ((from + span - 1 - gpa) >> shift);
		from = tce - (before << shift);
		do {
			list->tce[i] = tce;
			if (++i == n)
				break;
			tce = iommu_tce_load(++src);
		} while (rol64(tce - from, back) <= last);
		list->run[first] = i - first;
	} while (i < n);

	return hard ? kvmppc_tce_too_hard(vcpu, args) : H_SUCCESS;
}

/* How many of @n entries lead to pages that follow each other? */
static __always_inline unsigned long
kvmppc_tce_row(const u64 *tce, unsigned long n, unsigned long size)
{
	unsigned long i = 1;

	while (i < n && tce[i] == tce[i - 1] + size)
		i++;
	return i;
}

/*
 * Permissions of a run that begins with @tce, and what is to be added to each of its
 * entries for the user address.
 */
static __always_inline unsigned long
kvmppc_tce_run(struct kvmppc_spapr_tce_table *stt, unsigned long tce,
	       struct kvmppc_tce_slot *slot, unsigned long *delta)
{
	unsigned long perm = tce & KVM_TCE_PERM;

	/* It was found before in the same slots, so it is found again. */
	if (perm && kvmppc_tce_slot_find(tce ^ perm, perm, BIT(stt->page_shift), slot))
		*delta = kvmppc_tce_slot_ua(slot, tce ^ perm) - tce;
	return perm;
}

/*
 * May a table be given a checked list of @n entries? To be asked if IOMMU pages are larger
 * than the kernel's, or if not all of the guest's pages are in one region each.
 */
static __always_inline bool
kvmppc_tce_list_known(struct kvmppc_spapr_tce_table *stt, struct iommu_table *tbl,
		      const struct kvmppc_tce_list *list, unsigned long n, bool rm)
{
	unsigned int sub = stt->page_shift - tbl->it_page_shift;
	struct kvmppc_tce_slot slot = { .slots = list->slots };
	unsigned long i, k, end, delta = 0;

	for (i = 0; i < n; i = end) {
		end = i + list->run[i];
		if (!kvmppc_tce_run(stt, list->tce[i], &slot, &delta))
			continue;
		for (; i < end; i += k) {
			k = kvmppc_tce_row(list->tce + i, end - i, BIT(stt->page_shift));
			if (!kvmppc_tce_known(tbl, list->tce[i] + delta, k << sub, rm))
				return false;
		}
	}
	return true;
}

/* Map the @n entries of a run, from @entry on; @delta makes user addresses of them. */
static __always_inline long
kvmppc_tce_list_map(struct kvm_vcpu *vcpu, struct iommu_user_gather *g,
		    unsigned long entry, const u64 *tce, unsigned long n,
		    unsigned int sub, unsigned long delta, unsigned long perm, bool rm)
{
	unsigned long size = BIT(g->tbl->it_page_shift + sub), k;
	enum dma_data_direction dir = kvmppc_tce_dir(perm);
	long err;

	for (; n; n -= k, tce += k, entry += k << sub) {
		if (!sub) {
			if (!rm)
				iommu_user_enter();
			iommu_user_try_map_list(g, entry, n, tce, delta, dir);
			if (!rm)
				iommu_user_leave();
			k = g->done;
			if (likely(k == n))
				return 0;
			if (k)
				continue;
		}
		k = kvmppc_tce_row(tce, n, size);
		err = kvmppc_tce_map(vcpu, g, entry, k << sub, *tce + delta, perm, rm);
		if (err)
			return err;
	}
	return 0;
}

/* Bring a checked list of @n entries into a hardware table, by runs. */
static __always_inline long
kvmppc_tce_list_apply(struct kvm_vcpu *vcpu, struct kvmppc_spapr_tce_table *stt,
		      struct iommu_table *tbl, const struct kvmppc_tce_list *list,
		      unsigned long idx, unsigned long n, bool rm)
{
	unsigned int sub = stt->page_shift - tbl->it_page_shift;
	struct iommu_user_gather g __uninitialized;
	struct kvmppc_tce_slot slot = { .slots = list->slots };
	unsigned long i, entry, perm, delta = 0;
	long err = 0;

	iommu_user_begin_mode(&g, tbl, rm);
	for (i = 0; i < n && !err; i += list->run[i]) {
		entry = (stt->offset + idx + i) << sub;
		perm = kvmppc_tce_run(stt, list->tce[i], &slot, &delta);
		if (perm)
			err = kvmppc_tce_list_map(vcpu, &g, entry, list->tce + i,
						  list->run[i], sub, delta, perm, rm);
		else
			err = kvmppc_tce_unmap(&g, entry,
					       (unsigned long)list->run[i] << sub, rm);
	}
	return kvmppc_tce_finish(&g, err, rm);
}

/* Write @n words from TCE @idx on; pages have been made sure of. */
static __always_inline void
kvmppc_tce_view_write(struct kvmppc_spapr_tce_table *stt, unsigned long idx,
		      const u64 *list, unsigned long n)
{
	unsigned long i, part;
	u64 *word;

	for (; n; n -= part, idx += part, list += part) {
		part = min(n, KVM_TCE_VIEW_WORDS - (idx & (KVM_TCE_VIEW_WORDS - 1)));
		word = kvmppc_tce_word(stt, idx);
		if (!word)
			continue;
#pragma GCC unroll 8
		for (i = 0; i < part; i++)
			WRITE_ONCE(word[i], list[i]);
	}
}

/*
 * Zero @n words, by cache lines: a store for each would cost as much as the rest of the
 * hypercall. Nobody may rely on what a word reads as meanwhile.
 */
static __always_inline void kvmppc_tce_view_zero(u64 *word, unsigned long n)
{
	const unsigned int shift = l1_dcache_shift() - ilog2(sizeof(*word));
	const unsigned long line = BIT(shift);
	unsigned long i;

	for (; n && !IS_ALIGNED((unsigned long)word, line * sizeof(*word)); n--)
		WRITE_ONCE(*word++, 0);
	for (i = n >> shift; i; i--, word += line)
		dcbz(word);
	for (n &= line - 1; n; n--)
		WRITE_ONCE(*word++, 0);
}

/* Write @value into @n words from TCE @idx on; a missing page reads as zeros already. */
static __always_inline void
kvmppc_tce_view_fill(struct kvmppc_spapr_tce_table *stt, unsigned long idx,
		     u64 value, unsigned long n)
{
	unsigned long i, part;
	u64 *word;

	for (; n; n -= part, idx += part) {
		part = min(n, KVM_TCE_VIEW_WORDS - (idx & (KVM_TCE_VIEW_WORDS - 1)));
		word = kvmppc_tce_word(stt, idx);
		if (!word)
			continue;
		if (!value) {
			kvmppc_tce_view_zero(word, part);
			continue;
		}
#pragma GCC unroll 8
		for (i = 0; i < part; i++)
			WRITE_ONCE(word[i], value);
	}
}

/* Are all pages of the view there for @n TCEs from @idx on? Makes them in virtual mode. */
static __always_inline long
kvmppc_tce_view_ready(struct kvm_vcpu *vcpu, struct kvmppc_spapr_tce_table *stt,
		      unsigned long idx, unsigned long n, bool rm)
{
	unsigned long i;

	for (i = idx; i < idx + n; i = (i | (KVM_TCE_VIEW_WORDS - 1)) + 1) {
		if (likely(kvmppc_tce_word(stt, i)))
			continue;
		if (rm)
			return kvmppc_tce_too_hard(vcpu, level);
		if (!kvmppc_tce_word_alloc(stt, i))
			return H_NOT_ENOUGH_RESOURCES;
	}
	return H_SUCCESS;
}

/* H_PUT_TCE_INDIRECT once the list is in reach. Context: kvm->srcu. */
static __always_inline long
kvmppc_tce_put_list(struct kvm_vcpu *vcpu, struct kvmppc_spapr_tce_table *stt,
		    unsigned long idx, const __be64 *src,
		    struct kvmppc_tce_list *list,
		    unsigned long n, bool rm)
{
	struct kvmppc_spapr_tce_iommu_table *hw;
	bool regions = false;
	unsigned int sub;
	long ret, err;

	list_for_each_entry_lockless(hw, &stt->iommu_tables, next)
		regions |= !hw->tbl->it_pins;
	ret = kvmppc_tce_list_check(vcpu, stt, src, list, n, regions, rm);
	if (ret != H_SUCCESS)
		return ret;
	ret = kvmppc_tce_view_ready(vcpu, stt, idx, n, rm);
	if (ret != H_SUCCESS)
		return ret;

	list_for_each_entry_lockless(hw, &stt->iommu_tables, next) {
		sub = stt->page_shift - hw->tbl->it_page_shift;
		if (!kvmppc_tce_mode_ok(hw->tbl, n << sub, rm))
			return kvmppc_tce_too_hard(vcpu, mode);
		if (hw->tbl->it_pins)
			continue;
		if (unlikely(list->unregistered || hw->tbl->it_page_shift > PAGE_SHIFT) &&
		    !kvmppc_tce_list_known(stt, hw->tbl, list, n, rm))
			return kvmppc_tce_too_hard(vcpu, unregistered);
	}
	list_for_each_entry_lockless(hw, &stt->iommu_tables, next) {
		sub = stt->page_shift - hw->tbl->it_page_shift;
		/* It may have come just now. */
		if (!kvmppc_tce_mode_ok(hw->tbl, n << sub, rm))
			return kvmppc_tce_too_hard(vcpu, mode);
		err = kvmppc_tce_list_apply(vcpu, stt, hw->tbl, list, idx, n, rm);
		if (unlikely(err))
			return kvmppc_tce_failed(vcpu, stt, idx, n, err, rm);
	}
	kvmppc_tce_view_write(stt, idx, list->tce, n);
	return H_SUCCESS;
}

/* H_STUFF_TCE of @n TCEs from @idx on. Context: kvm->srcu. */
static __always_inline long
kvmppc_tce_stuff(struct kvm_vcpu *vcpu, struct kvmppc_spapr_tce_table *stt,
		 unsigned long idx, unsigned long value, unsigned long n, bool rm)
{
	struct kvmppc_spapr_tce_iommu_table *hw;
	struct iommu_user_gather g __uninitialized;
	unsigned int sub;
	long ret, err;

	if (value) {
		ret = kvmppc_tce_view_ready(vcpu, stt, idx, n, rm);
		if (ret != H_SUCCESS)
			return ret;
	}
	list_for_each_entry_lockless(hw, &stt->iommu_tables, next) {
		sub = stt->page_shift - hw->tbl->it_page_shift;
		if (!kvmppc_tce_mode_ok(hw->tbl, n << sub, rm))
			return kvmppc_tce_too_hard(vcpu, mode);
		iommu_user_begin_mode(&g, hw->tbl, rm);
		err = kvmppc_tce_unmap(&g, (stt->offset + idx) << sub, n << sub, rm);
		err = kvmppc_tce_finish(&g, err, rm);
		if (unlikely(err))
			return kvmppc_tce_failed(vcpu, stt, idx, n, err, rm);
	}
	kvmppc_tce_view_fill(stt, idx, value, n);
	return H_SUCCESS;
}

#endif /* BOOK3S_64_VIO_H */
