/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multilevel TCE tables: their shape and their walk.
 *
 * A table is a tree of equal levels. A level is a power of two of 64-bit words,
 * 4K bytes at least, naturally aligned, in the linear map. The words of an
 * indirect level are *links* in the format of IODA hardware: big endian
 * physical address of the next level | read | write. A word without read and
 * write leads nowhere: a *hole*. Only the top level exists from the start.
 *
 * A *leaf* holds the hardware's TCEs and, if the table belongs to user space,
 * one *view word* per TCE right behind them: one walk finds both, one allocation
 * makes both, one free ends both. (A table with a single level has two allocations if
 * a common one fails.) If the TCEs are a hypervisor's (pSeries), the leaf holds view words
 * only.
 *
 * The result of a walk is valid until the caller's RCU read side (real mode: the guest's
 * exit) ends. Entries are numbered from the table's start here.
 *
 * arch/powerpc/kernel/iommu_levels.c describes growth and reclaim, and why they are safe.
 */
#ifndef _ASM_POWERPC_IOMMU_LEVELS_H
#define _ASM_POWERPC_IOMMU_LEVELS_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <asm/iommu.h>
#include <asm/page.h>
#include <asm/synch.h>
#include <asm/tce.h>

/*
 * A view word has the user page that its TCE leads to: ua[63:12] | flags. With PIN (v1) it
 * has hpa[63:12] | flags: what is pinned, whatever the address leads to by now. A word
 * without LIVE belongs to a clear TCE.
 *
 * The IOMMU_VIEW_LINE words of one cache line and their TCEs are a *line*. Its
 * first word, the *head*, has the line's lock bit, which is held to change any word or
 * TCE of the line. LOCK and DEAD appear in heads only, whatever the head's own
 * entry is, so a reader without the lock tests LIVE and nothing else.
 */
#define IOMMU_VIEW_LOCK		BIT(0)	/* head: the line is being changed */
#define IOMMU_VIEW_WRITE	TCE_PCI_WRITE	/* the device may write (v1: dirty at unpin) */
#define IOMMU_VIEW_PIN		BIT(2)	/* holds a page pin (v1), not a region's mapped */
#define IOMMU_VIEW_LIVE		BIT(3)	/* the TCE is set; ua may be 0 */
#define IOMMU_VIEW_DEAD		BIT(4)	/* head: the leaf is being freed, repeat the walk */
#define IOMMU_VIEW_BUSY		(IOMMU_VIEW_LOCK | IOMMU_VIEW_DEAD)
#define IOMMU_VIEW_UA		(~0xfffUL)

#define IOMMU_VIEW_LINE		16UL	/* words: 128 bytes, a cache line of POWER */

#define IOMMU_LINK_VALID	(TCE_PCI_READ | TCE_PCI_WRITE)
#define IOMMU_LINK_PA		(~0xfffUL)

#define IOMMU_LEVEL_MIN_SHIFT	9	/* log2 of words: IODA's smallest level is 4K */

/**
 * struct iommu_span - entries in one leaf, or in one hole
 * @tce: first TCE; NULL in a hole, or if the TCEs are a hypervisor's
 * @view: first view word; NULL in a hole, or in a table without view words
 * @nr: entries from here to the end of the leaf, the hole or the table
 */
struct iommu_span {
	__be64 *tce;
	u64 *view;
	unsigned long nr;
};

/*
 * TCEs and links are big endian, stored and loaded as one: the hardware reads them at any
 * time. The compiler turns a swapped volatile access into ten instructions.
 */
static __always_inline void iommu_tce_store(__be64 *p, u64 tce)
{
#ifdef __LITTLE_ENDIAN__
	asm volatile("stdbrx %1,%y0" : "=Z" (*p) : "r" (tce));
#else
	WRITE_ONCE(*p, cpu_to_be64(tce));
#endif
}

static __always_inline u64 iommu_tce_load(const __be64 *p)
{
#ifdef __LITTLE_ENDIAN__
	u64 tce;

	asm volatile("ldbrx %0,%y1" : "=r" (tce) : "Z" (*p));
	return tce;
#else
	return be64_to_cpu(READ_ONCE(*p));
#endif
}

/* The view word of a live entry that leads to @ua and holds a region's mapped */
static inline u64 iommu_view_word(unsigned long ua, bool write)
{
	return (ua & IOMMU_VIEW_UA) | IOMMU_VIEW_LIVE | (write ? IOMMU_VIEW_WRITE : 0);
}

/* The head of a view word's line */
static inline u64 *iommu_view_head(u64 *view)
{
	return (u64 *)((unsigned long)view & ~(IOMMU_VIEW_LINE * sizeof(*view) - 1));
}

/**
 * iommu_view_trylock - lock a line
 * @head: first view word of the line
 *
 * Acquire (hand-over-word): the caller sees what the last holder stored in the line's words
 * and TCEs, and its own stores become visible after the lock. An lwsync on POWER8 and later,
 * which also orders earlier loads and stores before later loads and stores.
 *
 * Context: any. A holder must not sleep nor be preempted.
 * Return: false if the line is locked, or the leaf is being freed.
 */
static __always_inline bool iommu_view_trylock(u64 *head)
{
	asm goto("1:	ldarx	%%r0,0,%0,1\n"
		 "	andi.	%%r9,%%r0,%1\n"
		 "	bne-	%l[busy]\n"
		 "	ori	%%r0,%%r0,%2\n"
		 "	stdcx.	%%r0,0,%0\n"
		 "	bne-	1b\n"
		 PPC_ACQUIRE_BARRIER
		 : : "b" (head), "i" (IOMMU_VIEW_BUSY), "i" (IOMMU_VIEW_LOCK)
		 : "r0", "r9", "cr0", "memory" : busy);
	return true;
busy:
	return false;
}

/**
 * iommu_view_unlock - unlock a line
 * @head: first view word of the line
 *
 * Release: the next holder sees the line's words and TCEs.
 */
static inline void iommu_view_unlock(u64 *head)
{
	/* hand-over-word, hand-over-tce: pairs with iommu_view_trylock() */
	smp_store_release(head, READ_ONCE(*head) & ~IOMMU_VIEW_LOCK);
}

/* Are all entries of the line clear that begins at @head? */
static inline bool iommu_view_line_clear(const u64 *head)
{
	unsigned long i;
	u64 any = 0;

#pragma GCC unroll 16
	for (i = 0; i < IOMMU_VIEW_LINE; i++)
		any |= READ_ONCE(head[i]);
	return !(any & IOMMU_VIEW_LIVE);
}

/* The view word of an entry whose line is locked, without the lock bit */
static inline u64 iommu_view_get(const u64 *view)
{
	return READ_ONCE(*view) & ~IOMMU_VIEW_LOCK;
}

/* Set the view word of an entry whose line is locked, and keep the lock. */
static inline void iommu_view_set(u64 *view, u64 word)
{
	WRITE_ONCE(*view, view == iommu_view_head(view) ? word | IOMMU_VIEW_LOCK : word);
}

/* The same, but unlock the line: one store if the entry is its line's first. */
static inline void iommu_view_set_unlock(u64 *view, u64 word)
{
	if (view == iommu_view_head(view)) {
		/* hand-over-word, hand-over-tce: as iommu_view_unlock() */
		smp_store_release(view, word);
	} else {
		WRITE_ONCE(*view, word);
		iommu_view_unlock(iommu_view_head(view));
	}
}

/* Is it a user's table, with view words in its leaves? */
static inline bool iommu_table_has_view(struct iommu_table *tbl)
{
	return tbl->it_mm;
}

/**
 * iommu_levels_walk - find an entry, and how many follow it in the same leaf or hole
 * @tbl: table made by iommu_levels_init()
 * @idx: entry, counted from the table's start; below @tbl->it_size
 * @span: filled in
 *
 * Allocates and changes nothing. A walker that finds a new level sees its words
 * initialised: the link was stored by cmpxchg(), and the walk follows it by an address
 * dependency (level-publication).
 *
 * Context: RCU read side, or MMU off.
 */
static __always_inline void iommu_levels_walk(struct iommu_table *tbl,
					      unsigned long idx,
					      struct iommu_span *span)
{
	unsigned int shift = ilog2(tbl->it_level_size);
	unsigned int below = tbl->it_indirect_levels * shift;
	unsigned long mask = tbl->it_level_size - 1;
	unsigned long left = tbl->it_size - idx;
	__be64 *block = tbl->it_root;
	unsigned long link;

	/* @below: index bits that select within one word of this level */
	for (; below; below -= shift) {
		link = iommu_tce_load(&block[(idx >> below) & mask]);
		if (!(link & IOMMU_LINK_VALID)) {
			span->tce = NULL;
			span->view = NULL;
			span->nr = min(left, BIT(below) - (idx & (BIT(below) - 1)));
			return;
		}
		block = __va(link & IOMMU_LINK_PA);
	}

	idx &= mask;
	block += idx;
	span->nr = min(left, mask + 1 - idx);
	span->tce = block;
	span->view = NULL;
	if (tbl->it_view_off) {
		span->view = (u64 __force *)block + tbl->it_view_off;
	} else if (iommu_table_has_view(tbl)) {
		span->view = (u64 __force *)block;
		span->tce = NULL;
	}
}

int iommu_levels_shape(unsigned int bits, unsigned int levels,
		       unsigned int max_bits, bool pair, unsigned int *shift);
int iommu_levels_init(struct iommu_table *tbl, int nid, unsigned int levels,
		      unsigned int shift, bool tces, struct mm_struct *mm);
void iommu_levels_destroy(struct iommu_table *tbl);

int iommu_levels_grow(struct iommu_table *tbl, unsigned long idx);
int iommu_levels_grow_host(struct iommu_table *tbl, unsigned long idx, gfp_t gfp);
void iommu_levels_reclaim(struct iommu_table *tbl, unsigned long idx,
			  unsigned long nr);
bool iommu_levels_prune(struct iommu_table *tbl, unsigned long idx,
			unsigned long nr);

#endif /* _ASM_POWERPC_IOMMU_LEVELS_H */
