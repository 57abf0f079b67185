// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * User-owned TCE entries of version 1 containers: page pins, and who is charged for them.
 *
 * Enabling a container charges its window's size. If IOMMU pages are smaller than kernel pages,
 * each entry may pin a page of its own, which is several times that size. So pages are
 * counted by lines: a page counts once in each line with an entry for it. Contiguous memory
 * that fills the window counts as the window's size, or as twice that if it is shifted
 * against the lines. So the charge covers twice the window's size; beyond that each page is
 * charged on its own, until the table is clear again. it_pin_room is the number of pages
 * that the charge still covers.
 */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/vmstat.h>
#include <asm/mm_iommu.h>
#include "iommu_user_lines.h"

/* Pages pinned at a time, on the stack */
#define IOMMU_USER_PINS		32UL

/**
 * iommu_user_pins_drop() - drop the pins of entries
 * @tbl: the table
 * @hpa: where the first entry leads
 * @n: entries, which lead to contiguous memory
 * @dirty: a device may have written there
 *
 * An entry has one pin per kernel page, or one if IOMMU pages are smaller.
 *
 * Context: may sleep.
 */
void iommu_user_pins_drop(struct iommu_table *tbl, unsigned long hpa,
			  unsigned long n, bool dirty)
{
	unsigned int shift = tbl->it_page_shift;
	struct page *page[PAGE_SIZE >> IOMMU_PAGE_SHIFT_4K];
	unsigned long i, k;

	if (shift >= PAGE_SHIFT) {
		unpin_user_page_range_dirty_lock(pfn_to_page(hpa >> PAGE_SHIFT),
						 n << (shift - PAGE_SHIFT), dirty);
		return;
	}
	for (; n; n -= k, hpa += k << shift) {
		k = min(n, (PAGE_SIZE - offset_in_page(hpa)) >> shift);
		for (i = 0; i < k; i++)
			page[i] = pfn_to_page(hpa >> PAGE_SHIFT);
		unpin_user_pages_dirty_lock(page, k, dirty);
	}
}

/* A small page's reference count has room for a million pins: use half of it at most. */
static bool folio_pins_full(struct folio *folio)
{
	return folio_ref_count(folio) < 0 || folio_ref_count(folio) > INT_MAX / 2;
}

/**
 * iommu_user_pin_more() - add pins to a page on which the caller has one
 * @page: the page
 * @more: how many
 *
 * Context: any, MMU on.
 * Return: 0, or -ENOMEM if the page's reference count has no room for more.
 */
int iommu_user_pin_more(struct page *page, unsigned long more)
{
	struct folio *folio = page_folio(page);
	unsigned long i;

	if (is_zero_folio(folio))
		return 0;
	if (folio_pins_full(folio))
		return -ENOMEM;
	for (i = 0; i < more; i++)
		folio_add_pin(folio);
	mod_node_page_state(page_pgdat(page), NR_FOLL_PIN_ACQUIRED, more);
	return 0;
}

/*
 * Pin up to @max pages from @ua on, as far as they are contiguous. Returns their number,
 * which is not 0, or -errno.
 */
static long pages_pin(unsigned long ua, unsigned long max, bool write,
		      struct page **first)
{
	unsigned int gup = FOLL_LONGTERM | (write ? FOLL_WRITE : 0);
	struct page *page[IOMMU_USER_PINS];
	unsigned long have = 0;
	long got, i;

	while (have < max) {
		got = pin_user_pages_fast(ua + (have << PAGE_SHIFT),
					  min(max - have, IOMMU_USER_PINS), gup,
					  page);
		if (got <= 0)
			return have ? have : got ?: -EFAULT;
		if (!have)
			*first = page[0];
		for (i = 0; i < got; i++, have++)
			if (page_to_pfn(page[i]) != page_to_pfn(*first) + have ||
			    folio_pins_full(page_folio(page[i])))
				break;
		if (i < got) {
			unpin_user_pages(page + i, got - i);
			return have ? have : -ENOMEM;
		}
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	return have;
}

/**
 * iommu_user_pins_get() - pin the pages for entries, as far as they are contiguous
 * @tbl: the table; its mm must be current's
 * @ua: where the pages start
 * @size: bytes, a multiple of the IOMMU page size
 * @write: the device may write
 * @hpa: their address is returned here
 *
 * Context: may sleep; not under mmap_lock.
 * Return: bytes, a multiple of the IOMMU page size; 0 for none; -EPERM in another mm, -EINVAL if
 * an IOMMU page is not contiguous or not aligned, or an error of gup.
 */
long iommu_user_pins_get(struct iommu_table *tbl, unsigned long ua,
			 unsigned long size, bool write, unsigned long *hpa)
{
	unsigned int shift = tbl->it_page_shift;
	unsigned long mask = BIT(shift) - 1;
	unsigned long off = offset_in_page(ua), bytes, n, done;
	struct page *first;
	long pages;
	int ret;

	if (!tbl->it_mm || tbl->it_mm != current->mm)
		return -EPERM;
	/* One batch, or one IOMMU page if that is more. The caller repeats. */
	size = min(size, max(IOMMU_USER_PINS << PAGE_SHIFT, mask + 1));
	pages = pages_pin(ua & PAGE_MASK, PAGE_ALIGN(off + size) >> PAGE_SHIFT,
			  write, &first);
	if (pages <= 0)
		return pages;

	*hpa = page_to_phys(first) + off;
	bytes = min(size, ((unsigned long)pages << PAGE_SHIFT) - off) & ~mask;
	if (!bytes || ((ua | *hpa) & mask)) {
		unpin_user_page_range_dirty_lock(first, pages, false);
		return -EINVAL;
	}
	if (shift >= PAGE_SHIFT) {
		n = bytes >> PAGE_SHIFT;
		if (n < pages)
			unpin_user_page_range_dirty_lock(pfn_to_page(page_to_pfn(first) + n),
							 pages - n, false);
		return bytes;
	}

	/* Smaller IOMMU pages: a page gets a pin for each of its entries here. */
	for (done = 0; done < bytes; done += n << shift) {
		n = min(bytes - done, PAGE_SIZE - offset_in_page(*hpa + done)) >> shift;
		ret = iommu_user_pin_more(pfn_to_page((*hpa + done) >> PAGE_SHIFT), n - 1);
		if (!ret)
			continue;
		n = (off + done) >> PAGE_SHIFT;
		unpin_user_page_range_dirty_lock(pfn_to_page(page_to_pfn(first) + n),
						 pages - n, false);
		if (!done)
			return ret;
		break;
	}
	return done;
}

/* Pages that the charge for a window covers */
static long pins_window(struct iommu_table *tbl)
{
	return 2 * ((tbl->it_size << tbl->it_page_shift) >> PAGE_SHIFT);
}

/**
 * iommu_user_pins_init() - let the entries of a table hold pins of pages (v1)
 * @tbl: a new table without entries, which is not set in any group yet
 * @revoked: entries cannot be set before the owner clears it_revoked
 *
 * A hypercall or a device of a group in which the table is set would take its entries for those
 * of version 2. The table's owner charges the size of the window, and revokes the table before
 * it uncharges.
 */
void iommu_user_pins_init(struct iommu_table *tbl, bool revoked)
{
	WARN_ON_ONCE(kref_read(&tbl->it_kref) != 1);
	tbl->it_revoked = revoked;
	tbl->it_pins = true;
	atomic_long_set(&tbl->it_pin_room, pins_window(tbl));
}
EXPORT_SYMBOL_GPL(iommu_user_pins_init);

/**
 * iommu_user_pins_charge() - charge one more page
 * @tbl: the table
 *
 * Revoking the table is followed by iommu_user_pins_uncharge().
 *
 * Context: may sleep; not under mmap_lock.
 * Return: 0, -ENOMEM over the limit, -ENODEV if the table has been revoked, -EINTR on a fatal
 * signal.
 */
int iommu_user_pins_charge(struct iommu_table *tbl)
{
	int ret = -ENODEV;

	mutex_lock(&tbl->it_grow);
	if (!READ_ONCE(tbl->it_revoked))
		ret = mm_iommu_charge(tbl->it_mm, 1);
	if (!ret)
		atomic_long_inc(&tbl->it_pin_room);
	mutex_unlock(&tbl->it_grow);
	return ret;
}

/**
 * iommu_user_pins_uncharge() - uncharge the pages beyond the window's size
 * @tbl: revoked table without live entries. Entries that a hypervisor did not clear stay charged
 *
 * Context: may sleep, for one RCU grace period; not under mmap_lock.
 */
void iommu_user_pins_uncharge(struct iommu_table *tbl)
{
	long more;

	/* revoke: a section may have cleared an entry, and not yet returned the room. */
	synchronize_rcu();
	mutex_lock(&tbl->it_grow);
	more = atomic_long_read(&tbl->it_pin_room) - pins_window(tbl);
	if (more > 0) {
		mm_iommu_uncharge(tbl->it_mm, more);
		atomic_long_sub(more, &tbl->it_pin_room);
	}
	mutex_unlock(&tbl->it_grow);
}
EXPORT_SYMBOL_GPL(iommu_user_pins_uncharge);
