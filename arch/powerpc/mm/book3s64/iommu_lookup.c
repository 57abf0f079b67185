// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pre-registered DMA memory: look-up, translation and references.
 *
 * One set of functions for both modes. POWER8 guests' hypercalls call them with the MMU
 * off, so this object is built in and not instrumented (see the Makefile), and everything
 * reached from here is in the linear map. Nothing here sleeps, allocates or waits.
 *
 * Virtual mode calls them in an RCU read side. Real mode needs none: while a core serves a
 * guest in real mode, its primary thread waits for the secondaries with interrupts off and
 * passes no quiescent state before all of them have left the guest. With context tracking
 * (nohz_full) guest entry is an extended quiescent state. Then that does not hold, and callers
 * refuse.
 */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/vmstat.h>
#include <asm/mm_iommu.h>
#include <asm/pgalloc.h>
#include "mm_iommu_core.h"

/**
 * mm_iommu_mark_dirty() - mark a part of a region dirty, before a device may write to it
 * @region: the region
 * @ua: first address of the part
 * @len: bytes
 *
 * Sets the dirty bits of the words. Plain stores suffice: the other bits of a word never
 * change, and a dirty bit is never cleared.
 *
 * Context: the caller holds a reference. MMU on or off.
 */
void mm_iommu_mark_dirty(struct mm_iommu_region *region, unsigned long ua,
			 unsigned long len)
{
	unsigned long end = ua + len;
	struct mm_iommu_run run;
	u64 v;

	while (ua < end && !region->dev) {
		mm_iommu_resolve(region, ua, &run);
		v = READ_ONCE(*run.word);
		if (!(v & MM_IOMMU_DIRTY))
			WRITE_ONCE(*run.word, v | MM_IOMMU_DIRTY);
		ua = (ua | (BIT(run.shift) - 1)) + 1;
	}
}

/**
 * mm_iommu_put() - drop references of a region
 * @region: the region
 * @n: how many of the caller's references
 *
 * Never drops @mapped below the 1 of the registration itself, not even temporarily:
 * concurrent callers would get -ENXIO. Release (dirty-before-entry): the caller's changes of
 * TCEs come before the region may die.
 *
 * Context: RCU read side, or MMU off.
 * Return: 0; -ERANGE if the region has fewer references. That is a bug of the caller; nothing
 * was dropped.
 */
int mm_iommu_put(struct mm_iommu_region *region, unsigned long n)
{
	s64 mapped = atomic64_read(&region->mapped);

	do {
		if (n >= (unsigned long)mapped)
			return -ERANGE;
	} while (!atomic64_try_cmpxchg_release(&region->mapped, &mapped, mapped - n));

	/* MMU off: the region was abandoned after it was found. The worker ends it. */
	if (unlikely(READ_ONCE(region->orphan)) && mapped - n == 1 && (mfmsr() & MSR_DR))
		mm_iommu_orphan_put(region);
	return 0;
}

/* The region of @mm that covers @ua and may be translated, or NULL */
static struct mm_iommu_region *find_live(struct mm_struct *mm, unsigned long ua)
{
	struct mm_iommu_region *region = mm_iommu_find(mm, ua);

	/* region-words: they are valid only once @mapped is not 0. */
	return region && atomic64_read_acquire(&region->mapped) ? region : NULL;
}

/**
 * mm_iommu_translate() - translate a registered user address, without a reference
 * @mm: whose memory
 * @ua: user address, any alignment
 * @hpa: host physical address on success
 *
 * Context: RCU read side; the result is valid until rcu_read_unlock(). Or MMU off.
 * Return: bytes contiguous from there, within the region; -EFAULT if no live region covers
 * @ua.
 */
long mm_iommu_translate(struct mm_struct *mm, unsigned long ua,
			unsigned long *hpa)
{
	struct mm_iommu_region *region = find_live(mm, ua);
	struct mm_iommu_run run;

	if (!region)
		return -EFAULT;
	mm_iommu_resolve(region, ua, &run);
	*hpa = run.hpa;
	return run.len;
}
EXPORT_SYMBOL_GPL(mm_iommu_translate);

/**
 * mm_iommu_extent() - the region that covers a user address, without a reference
 * @mm: whose memory
 * @ua: user address, any alignment
 * @start: first address of the region, on success
 * @size: its bytes, on success
 *
 * Context: RCU read side, or MMU off.
 * Return: true if @ua is in a region that can be mapped.
 */
bool mm_iommu_extent(struct mm_struct *mm, unsigned long ua,
		     unsigned long *start, unsigned long *size)
{
	struct mm_iommu_region *region = find_live(mm, ua);

	if (!region)
		return false;
	*start = region->ua;
	*size = region->end - region->ua;
	return true;
}
EXPORT_SYMBOL_GPL(mm_iommu_extent);

/* ---- struct pages ---- */

/**
 * realmode_pfn_to_page() - the struct page of a pfn, at an address that real mode can access
 * @pfn: a referenced page's, so that its memory map is not removed
 *
 * The virtual memory map is not in the linear map. With hash translation the blocks that
 * back it are in vmemmap_list; the result is the linear map's address of the same struct
 * page. compound_head() of it is a vmemmap address again: see realmode_pfn_to_head().
 *
 * Context: any, MMU on or off.
 * Return: the struct page; NULL if it straddles two blocks, if there is none, or with radix
 * translation, where nothing runs in real mode and the map is not in the list.
 */
struct page *realmode_pfn_to_page(unsigned long pfn)
{
#ifdef CONFIG_SPARSEMEM_VMEMMAP
	unsigned long va = (unsigned long)pfn_to_page(pfn), off, size;
	struct vmemmap_backing *vb;
	/* Memory hotplug may change the list concurrently: bound the loop. */
	unsigned int left = 1U << 16;

	if (radix_enabled())
		return NULL;
	size = 1UL << mmu_psize_defs[mmu_vmemmap_psize].shift;
	for (vb = READ_ONCE(vmemmap_list); vb && left; left--) {
		off = va - READ_ONCE(vb->virt_addr);
		if (off < size) {
			if (off + sizeof(struct page) > size)
				return NULL;
			/* vmemmap-list: pairs with vmemmap_list_populate() */
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
 * realmode_pfn_to_head() - the head of a pfn's page, at an address that real mode can access
 * @pfn: as for realmode_pfn_to_page()
 *
 * Context: any, MMU on or off.
 * Return: the page itself if it is not compound; NULL as realmode_pfn_to_page().
 */
struct page *realmode_pfn_to_head(unsigned long pfn)
{
	struct page *page = realmode_pfn_to_page(pfn), *head;

	/* Else a tail page's own address would be needed to find its head. */
	BUILD_BUG_ON(IS_ENABLED(CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP));

	if (!page)
		return NULL;
	/* A tail page has its head's vmemmap address. */
	head = compound_head(page);
	return head == page ? page : realmode_pfn_to_page(page_to_pfn(head));
}

/**
 * put_page_unless_one() - drop references of a page unless they are the last
 * @head: an order-0 page or a compound page's head, readable in this context
 * @refs: how many
 *
 * The last reference frees the page, which real mode can't do.
 *
 * Context: any, MMU on or off (@head from realmode_pfn_to_page()).
 * Return: true if the references were dropped.
 */
bool put_page_unless_one(struct page *head, int refs)
{
	int old = atomic_read(&head->_refcount);

	do {
		if (old <= refs)
			return false;
	} while (!atomic_try_cmpxchg(&head->_refcount, &old, old - refs));
	return true;
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
 * unpin_user_page_unless_last() - drop a FOLL_PIN pin unless that would free the page
 * @head: an order-0 page or a compound page's head, readable in this context
 *
 * As unpin_user_page(), except that it never frees. Counts in NR_FOLL_PIN_RELEASED of the
 * node: real mode cannot access the per-cpu counter.
 *
 * Context: any, MMU on or off (@head from realmode_pfn_to_page()).
 * Return: true if the pin was dropped.
 */
bool unpin_user_page_unless_last(struct page *head)
{
	struct folio *folio = (struct folio *)head;
	bool large = folio_test_large(folio);
	int refs = large ? 1 : GUP_PIN_COUNTING_BIAS;

	/* The pin count is in the second struct page: in the same block? */
	if (large && !second_page_readable(head))
		return false;
	/* As gup does: the pin count first, while the reference keeps the folio. */
	if (large)
		atomic_dec(&folio->_pincount);
	if (!put_page_unless_one(head, refs)) {
		if (large)
			atomic_inc(&folio->_pincount);
		return false;
	}

	node_page_state_add(1, NODE_DATA(page_to_nid(head)), NR_FOLL_PIN_RELEASED);
	return true;
}
