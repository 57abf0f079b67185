/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pre-registered regions: the data, and its readers that take no lock.
 *
 * Reading order: asm/mm_iommu.h (what a region is), this header, iommu_lookup.c (readers),
 * iommu_api.c (registers and ends regions). The entry protocol also inlines functions of this
 * header. A reader may have the MMU off. So nothing here sleeps, prints, or touches vmalloc,
 * vmemmap or per-cpu data, and every pointer leads into the linear map.
 *
 * Index. Regions of one mm never overlap. They are in a latched rbtree: two trees, of
 * which a writer, under store->lock, changes one while readers walk the other. So a reader
 * never waits for a writer, even if the writer is interrupted half way, and never misses
 * a region that is in the index. A reader repeats its walk only if a writer has switched trees
 * during it. Nodes are embedded in the regions: inserting needs no memory and cannot fail.
 * A reader first tries the largest region, which has most of a guest's memory.
 * A region is freed a grace period after it has left the index.
 *
 * Metadata. One 64-bit word describes a chunk (a PMD's worth of ua), or a page:
 *
 *   hpa[63:12] run[11:2] dirty[1] contig[0] = 1    a contiguous chunk, or one page
 *   pointer to page words[63:3] contig[0] = 0      a scattered chunk
 *
 * hpa is the address of the chunk's (page's) first byte, even if the region starts behind it.
 * run is the number of chunks (pages) that follow contiguously, up to 1023. Page words are an
 * array with one word for each page of a scattered chunk. Chunk words are in blocks of one
 * kernel page. Neither needs vmalloc, so both modes read the same words, without a page table
 * walk.
 */
#ifndef MM_IOMMU_CORE_H
#define MM_IOMMU_CORE_H

#include <linux/atomic.h>
#include <linux/kernel.h>
#include <linux/mm_types.h>
#include <linux/rbtree_latch.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/sched.h>
#include <asm/mm_iommu.h>
#include <asm/page.h>
#include <asm/reg.h>

#define MM_IOMMU_CONTIG		BIT(0)	/* the word holds a hpa, not a pointer */
#define MM_IOMMU_DIRTY		BIT(1)	/* a writable TCE has led to it */
#define MM_IOMMU_RUN_SHIFT	2
#define MM_IOMMU_RUN_MAX	1023UL
#define MM_IOMMU_HPA_MASK	(~0xfffUL)

#define MM_IOMMU_BLOCK_SHIFT	(PAGE_SHIFT - 3)
#define MM_IOMMU_BLOCK_WORDS	BIT(MM_IOMMU_BLOCK_SHIFT)

/**
 * struct mm_iommu_region - one pre-registered region
 * @node: in the store's index (store->lock; readers: RCU)
 * @ua: first user address
 * @end: the address after the last (regions never reach 2^64)
 * @mapped: 1 while alive plus one per live TCE; 0 = claimed or dead
 * @block: chunk words by blocks of MM_IOMMU_BLOCK_WORDS; NULL if @dev
 * @dev_hpa: base of device memory, when @dev
 * @chunk_shift: log2 of what one chunk word covers
 * @dev: device memory, without struct pages: nothing is pinned or charged
 * @claimed: being registered (store->lock)
 * @orphan: its last owner has abandoned it, @used is 0; never reset (store->lock;
 *	readers: RCU, see mm_iommu_abandon())
 * @stale: the last unregistration was refused, as TCEs lead into it. It cannot be registered
 *	again, as user space may have mapped other pages there; never reset (store->lock)
 * @used: registrations (store->lock)
 * @charged: pages charged to locked_vm (the registering thread; then store->lock; then the
 *	worker)
 * @metadata: bytes allocated for this region, itself included
 * @contig: number of chunks held in one word
 * @store: whose region it is
 * @link: in store->dead, or an orphan's in store->abandoned (store->lock)
 * @rcu: frees a region whose registration failed
 *
 * @ua, @end, @dev, @dev_hpa, @chunk_shift and @store are set before the region enters the
 * index. The other fields without a lock belong to the registering thread until @mapped
 * becomes non-zero, and are immutable from then on. Of the words only the dirty bits change.
 */
struct mm_iommu_region {
	struct latch_tree_node node;
	unsigned long ua;
	unsigned long end;
	atomic64_t mapped;
	u64 **block;
	unsigned long dev_hpa;
	unsigned long chunk_shift;
	bool dev;
	bool claimed;
	bool orphan;
	bool stale;
	unsigned long used;
	unsigned long charged;
	unsigned long metadata;
	unsigned long contig;
	struct mm_iommu_store *store;
	struct list_head link;
	struct rcu_head rcu;
};

/**
 * struct mm_iommu_store - all regions of one mm
 * @lock: every change of the index and of the lists, and the fields of regions that name it.
 *	Taken in process context and in RCU read sides, never in interrupts
 * @regions: the index, by address (@lock; readers: RCU)
 * @largest: the largest region of those published since the last @largest left; never an
 *	orphan; NULL for none (@lock; readers: RCU)
 * @dead: regions that are out of the index but still pinned (@lock)
 * @abandoned: orphans that the worker has not tried to end yet (@lock)
 * @gp: the RCU grace period after which regions of @dead are not in use, and readers see the
 *	orphans of @abandoned as such (@lock)
 * @unpinning: pages of dead regions that are still pinned (@lock; also read without)
 * @work: unpins dead regions, ends orphans; references the mm while it is queued or runs
 * @uncharging: pages that @uncharge_work or the next charge will uncharge
 * @uncharge_work: tries to uncharge what mm_iommu_uncharge() could not, until mmap_lock is free;
 *	references the mm as @work does
 * @uncharge_delay: from one try to the next, jiffies; @uncharge_work's own
 * @wait: registrations that wait for a claim, or for @unpinning to shrink
 * @next: in the list of all stores (store_list_lock)
 * @mm: whose store it is; immutable
 * @pid: process that charged or registered first; immutable
 * @comm: its name then; immutable
 */
struct mm_iommu_store {
	spinlock_t lock;	/* see above */
	struct latch_tree_root regions;
	struct mm_iommu_region *largest;
	struct list_head dead;
	struct list_head abandoned;
	unsigned long gp;
	unsigned long unpinning;
	struct work_struct work;
	atomic_long_t uncharging;
	struct delayed_work uncharge_work;
	unsigned long uncharge_delay;
	wait_queue_head_t wait;
	struct list_head next;
	struct mm_struct *mm;
	pid_t pid;
	char comm[TASK_COMM_LEN];
};

/* The store of @mm, or NULL if nothing was ever charged or registered. It lives as long as @mm. */
static inline struct mm_iommu_store *mm_iommu_store(struct mm_struct *mm)
{
	return READ_ONCE(mm->context.iommu_store);
}

struct mm_iommu_range {
	unsigned long ua;
	unsigned long end;
};

static inline struct mm_iommu_region *
mm_iommu_node_region(struct latch_tree_node *node)
{
	return container_of(node, struct mm_iommu_region, node);
}

/* Regions do not overlap, so a range is below a region, above it, or overlaps it. */
static __always_inline int mm_iommu_range_cmp(void *key, struct latch_tree_node *node)
{
	const struct mm_iommu_region *region = mm_iommu_node_region(node);
	const struct mm_iommu_range *range = key;

	if (range->end <= region->ua)
		return -1;
	return range->ua >= region->end;
}

static __always_inline bool mm_iommu_region_less(struct latch_tree_node *a,
						 struct latch_tree_node *b)
{
	return mm_iommu_node_region(a)->ua < mm_iommu_node_region(b)->ua;
}

static const struct latch_tree_ops mm_iommu_region_ops = {
	.less = mm_iommu_region_less,
	.comp = mm_iommu_range_cmp,
};

/* Any region that overlaps [ua, end). Context: RCU read side, MMU off, or store->lock. */
static __always_inline struct mm_iommu_region *
mm_iommu_find_range(struct mm_iommu_store *store, unsigned long ua, unsigned long end)
{
	struct mm_iommu_range range = { .ua = ua, .end = end };
	struct latch_tree_node *node;

	node = latch_tree_find(&range, &store->regions, &mm_iommu_region_ops);
	return node ? mm_iommu_node_region(node) : NULL;
}

/*
 * The region of @mm that covers @ua, or NULL. It is not held. With the MMU off orphans are not
 * found: the caller that drops an orphan's last reference must be able to queue work.
 * Context: RCU read side, or MMU off.
 */
static __always_inline struct mm_iommu_region *
mm_iommu_find(struct mm_struct *mm, unsigned long ua)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	struct mm_iommu_region *region;

	if (unlikely(!store))
		return NULL;
	region = READ_ONCE(store->largest);
	if (region && ua - region->ua < region->end - region->ua)
		return region;
	region = mm_iommu_find_range(store, ua, ua + 1);
	if (region && unlikely(READ_ONCE(region->orphan)) && !(mfmsr() & MSR_DR))
		return NULL;
	return region;
}

/**
 * struct mm_iommu_run - where a user address leads
 * @hpa: host physical address
 * @len: contiguous bytes from there, never past the region's end
 * @word: has the dirty bit; not set for device memory
 * @shift: log2 of the bytes that @word covers; 0 for device memory
 */
struct mm_iommu_run {
	unsigned long hpa;
	unsigned long len;
	u64 *word;
	unsigned long shift;
};

/* The word of chunk @chunk, counted from the region's first */
static inline u64 *mm_iommu_chunk_word(struct mm_iommu_region *region, unsigned long chunk)
{
	return &region->block[chunk >> MM_IOMMU_BLOCK_SHIFT]
			     [chunk & (MM_IOMMU_BLOCK_WORDS - 1)];
}

/*
 * The word of the contiguous chunk with @ua, or of its page in a scattered chunk. *@v is its value,
 * *@shift log2 of what it covers.
 */
static __always_inline u64 *
mm_iommu_word(struct mm_iommu_region *region, unsigned long ua, u64 *v, unsigned long *shift)
{
	unsigned long chunk = region->chunk_shift;
	u64 *w = mm_iommu_chunk_word(region, (ua >> chunk) - (region->ua >> chunk));

	*shift = chunk;
	*v = READ_ONCE(*w);
	if (!(*v & MM_IOMMU_CONTIG)) {
		w = (u64 *)*v + ((ua & (BIT(chunk) - 1)) >> PAGE_SHIFT);
		*v = READ_ONCE(*w);
		*shift = PAGE_SHIFT;
	}
	return w;
}

/*
 * Translate @ua, which @region covers. @len is the length of the run, except that it may be too
 * small if more than 1023 chunks or pages follow, or if the run continues from a scattered
 * chunk into the next one. An IOMMU page that is aligned never extends across such a place.
 */
static __always_inline void
mm_iommu_resolve(struct mm_iommu_region *region, unsigned long ua,
		 struct mm_iommu_run *run)
{
	unsigned long shift, off;
	u64 v;

	if (region->dev) {
		run->hpa = region->dev_hpa + (ua - region->ua);
		run->len = region->end - ua;
		run->shift = 0;
		return;
	}

	run->word = mm_iommu_word(region, ua, &v, &shift);
	off = ua & (BIT(shift) - 1);
	run->hpa = (v & MM_IOMMU_HPA_MASK) + off;
	run->len = ((((v >> MM_IOMMU_RUN_SHIFT) & MM_IOMMU_RUN_MAX) + 1) << shift) - off;
	run->len = min(run->len, region->end - ua);
	run->shift = shift;
}

/*
 * Translate @ua and return how many IOMMU pages of 2^@shift bytes the run holds; 0: an IOMMU page
 * cannot lead there, as the memory is not contiguous or not aligned. @run: see mm_iommu_resolve().
 */
static __always_inline unsigned long
mm_iommu_run_pages(struct mm_iommu_region *region, unsigned long ua, unsigned int shift,
		   struct mm_iommu_run *run)
{
	mm_iommu_resolve(region, ua, run);
	return (ua | run->hpa) & (BIT(shift) - 1) ? 0 : run->len >> shift;
}

/*
 * The page words from @ua on, if @ua, which @region covers, is in a scattered chunk; else NULL.
 * *@n is their number, up to the chunk's end, which may be beyond the region's.
 */
static __always_inline u64 *
mm_iommu_page_words(struct mm_iommu_region *region, unsigned long ua,
		    unsigned long *n)
{
	unsigned long shift;
	u64 v, *w;

	if (region->dev)
		return NULL;
	w = mm_iommu_word(region, ua, &v, &shift);
	if (shift != PAGE_SHIFT)
		return NULL;
	*n = ((ua | (BIT(region->chunk_shift) - 1)) - ua + 1) >> PAGE_SHIFT;
	return w;
}

/*
 * Take @n references of @region, unless it is being registered or unregistered. No ordering:
 * the caller has read @mapped as not 0 before, followed by a barrier (region-words-plain).
 */
static __always_inline bool
mm_iommu_get_relaxed(struct mm_iommu_region *region, unsigned long n)
{
	s64 mapped = atomic64_read(&region->mapped);

	do {
		if (unlikely(!mapped))
			return false;
	} while (!atomic64_try_cmpxchg_relaxed(&region->mapped, &mapped, mapped + n));
	return true;
}

/* The same with acquire ordering: the words are read after @mapped (region-words). */
static __always_inline bool mm_iommu_get(struct mm_iommu_region *region, unsigned long n)
{
	if (!mm_iommu_get_relaxed(region, n))
		return false;
	smp_acquire__after_ctrl_dep();
	return true;
}

void mm_iommu_mark_dirty(struct mm_iommu_region *region, unsigned long ua,
			 unsigned long len);
int mm_iommu_put(struct mm_iommu_region *region, unsigned long n);
void mm_iommu_orphan_put(struct mm_iommu_region *region);

#endif /* MM_IOMMU_CORE_H */
