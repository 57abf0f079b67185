// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pre-registered DMA memory with the MMU off.
 *
 * Entry points for hypercalls that a POWER8 guest makes and the host answers in
 * real mode. Always built in, never instrumented (see the Makefile): text, data
 * and everything reached from here is in the linear map.
 *
 * A core that serves a guest in real mode holds up RCU: its primary thread waits,
 * interrupts off, for the secondaries, and passes no quiescent state before all of
 * them have left the guest. That does not hold with context tracking (nohz_full),
 * where guest entry is an extended quiescent state: callers refuse then.
 *
 * All of these also work in virtual mode, under rcu_read_lock().
 */
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/vmstat.h>
#include <asm/mm_iommu.h>
#include <asm/pgalloc.h>
#include "mm_iommu_core.h"

/**
 * mm_iommu_map_get_rm() - mm_iommu_map_get() for real mode
 * @mm: as there
 * @ua: as there
 * @size: as there
 * @shift: as there
 * @write: as there
 * @hpa: as there
 *
 * Context: real mode, or RCU read side. Never waits.
 * Return: as there; -EFAULT may also mean that the index is just changing, so
 * every error means 'ask again in virtual mode' (H_TOO_HARD).
 */
long mm_iommu_map_get_rm(struct mm_struct *mm, unsigned long ua,
			 unsigned long size, unsigned int shift, bool write,
			 unsigned long *hpa)
{
	return __mm_iommu_map_get(mm, ua, size, shift, write, hpa, true);
}

/**
 * mm_iommu_map_put_rm() - mm_iommu_map_put() for real mode
 * @mm: as there
 * @ua: as there
 * @n: as there
 *
 * Context: real mode, or RCU read side. Never waits, never warns.
 * Return: 0; -ENOENT if the index is just changing: nothing was dropped then.
 */
int mm_iommu_map_put_rm(struct mm_struct *mm, unsigned long ua, unsigned long n)
{
	return __mm_iommu_map_put(mm, ua, n, true);
}

/**
 * mm_iommu_translate_rm() - mm_iommu_translate() for real mode
 * @mm: as there
 * @ua: as there
 * @hpa: as there
 *
 * Context: real mode, or RCU read side. Never waits.
 * Return: as there; an error means 'ask again in virtual mode'.
 */
long mm_iommu_translate_rm(struct mm_struct *mm, unsigned long ua,
			   unsigned long *hpa)
{
	return __mm_iommu_translate(mm, ua, hpa, true);
}

/**
 * mm_iommu_extent_rm() - mm_iommu_extent() for real mode
 * @mm: as there
 * @ua: as there
 * @start: as there
 * @size: as there
 *
 * Context: real mode, or RCU read side. Never waits.
 * Return: as there; false may also mean that the index is just changing.
 */
bool mm_iommu_extent_rm(struct mm_struct *mm, unsigned long ua,
			unsigned long *start, unsigned long *size)
{
	return __mm_iommu_extent(mm, ua, start, size, true);
}

/**
 * realmode_pfn_to_page() - the struct page of a pfn, at an address real mode has
 * @pfn: a page frame that is held, so that its memory map can't go
 *
 * The virtual memory map is not in the linear map. With hash translation the
 * blocks that back it are in vmemmap_list; the answer is the linear map's address
 * of the same struct page. compound_head() of it is a vmemmap address again: take
 * page_to_pfn() of that, which only computes, and ask here for the head.
 *
 * Context: any, MMU on or off. Return: NULL if the struct page straddles two
 * blocks, if there is none, or with radix translation, where nothing runs in real
 * mode and the map is not in the list.
 */
struct page *realmode_pfn_to_page(unsigned long pfn)
{
#ifdef CONFIG_SPARSEMEM_VMEMMAP
	unsigned long va = (unsigned long)pfn_to_page(pfn), off, size;
	struct vmemmap_backing *vb;
	/* The list may change meanwhile (memory hotplug): it must end all the same. */
	unsigned int left = 1U << 16;

	if (radix_enabled())
		return NULL;
	size = 1UL << mmu_psize_defs[mmu_vmemmap_psize].shift;
	for (vb = READ_ONCE(vmemmap_list); vb && left; left--) {
		off = va - READ_ONCE(vb->virt_addr);
		if (off < size) {
			if (off + sizeof(struct page) > size)
				return NULL;
			/* Pairs with vmemmap_list_populate(): phys before virt_addr. */
			smp_rmb();
			return __va(READ_ONCE(vb->phys) + off);
		}
		vb = READ_ONCE(vb->list);
	}
	return NULL;
#else
	return pfn_to_page(pfn);
#endif
}

/**
 * put_page_unless_one() - drop a page reference unless it is the last
 * @head: an order-0 page or a compound page's head, readable in this context
 *
 * The last reference frees the page, which can't be done in real mode.
 *
 * Context: any, MMU on or off (@head from realmode_pfn_to_page()).
 * Return: true if the reference was dropped.
 */
bool put_page_unless_one(struct page *head)
{
	return atomic_add_unless(&head->_refcount, -1, 1);
}

/* Is the struct page after @head in the same block of the memory map? */
static bool second_page_readable(struct page *head)
{
#ifdef CONFIG_SPARSEMEM_VMEMMAP
	unsigned long size = 1UL << mmu_psize_defs[mmu_vmemmap_psize].shift;

	if (!radix_enabled() &&
	    ((unsigned long)head & (size - 1)) + 2 * sizeof(*head) > size)
		return false;
#endif
	return true;
}

/**
 * unpin_user_page_unless_last() - drop a FOLL_PIN pin unless it is the last use
 * @head: an order-0 page or a compound page's head, readable in this context
 *
 * As unpin_user_page(), counted in NR_FOLL_PIN_RELEASED (in the node's own counter
 * rather than per cpu, which real mode can't reach), except that it never frees.
 *
 * Context: any, MMU on or off (@head from realmode_pfn_to_page()).
 * Return: true if the pin was dropped.
 */
bool unpin_user_page_unless_last(struct page *head)
{
	struct folio *folio = (struct folio *)head;
	bool large = test_bit(PG_head, &head->flags);
	int old, refs = large ? 1 : GUP_PIN_COUNTING_BIAS;

	/* The pin count is in the second struct page: in the same block? */
	if (large && !second_page_readable(head))
		return false;
	old = atomic_read(&head->_refcount);
	if (old <= refs)
		return false;
	/* As gup does: the pin count first, while the reference keeps the folio. */
	if (large)
		atomic_dec(&folio->_pincount);
	do {
		if (old <= refs) {
			if (large)
				atomic_inc(&folio->_pincount);
			return false;
		}
	} while (!atomic_try_cmpxchg(&head->_refcount, &old, old - refs));

	node_page_state_add(1, NODE_DATA(page_to_nid(head)), NR_FOLL_PIN_RELEASED);
	return true;
}
