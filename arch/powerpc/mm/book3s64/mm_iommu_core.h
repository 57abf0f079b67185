/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pre-registered regions: the data and the lockless half, compiled twice.
 *
 * iommu_api.c includes this for virtual mode, iommu_api_rm.c for real mode
 * (MMU off, not instrumented). So nothing here may sleep, print, touch vmalloc
 * or vmemmap, or use per-cpu data; every pointer leads into the linear map.
 *
 * Index. Regions of one mm never overlap. They are kept sorted by ua in small
 * leaves under one sorted array of leaves. A writer holds store->lock and moves
 * the words of a leaf in place, inside store->seq; it needs no memory to remove.
 * A reader checks what it found against the region itself, so a hit is always
 * right; only a miss may be due to a move, and is retried if seq says so. Leaves,
 * arrays and regions are freed after an RCU grace period.
 *
 * Metadata. One 64-bit word describes a chunk (a PMD's worth of ua), or a page:
 *
 *   hpa[63:12] run[11:2] dirty[1] contig[0]    contig is 1, or a word of a leaf
 *   pointer to a leaf of per-page words [63:3] contig is 0: a scattered chunk
 *
 * hpa is where the chunk's (page's) first byte would be, run says how many
 * chunks (pages) follow contiguously, up to 1023. Words live in blocks of one
 * kernel page, so that no word needs vmalloc: real mode reads what virtual mode
 * reads, and no page table walk is needed for it.
 */
#ifndef MM_IOMMU_CORE_H
#define MM_IOMMU_CORE_H

#include <linux/atomic.h>
#include <linux/kernel.h>
#include <linux/mm_types.h>
#include <linux/rcupdate.h>
#include <linux/seqlock.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/sched.h>
#include <asm/mm_iommu.h>
#include <asm/page.h>

#define MM_IOMMU_CONTIG		BIT(0)	/* the word holds a hpa, not a pointer */
#define MM_IOMMU_DIRTY		BIT(1)	/* a writable TCE has reached it */
#define MM_IOMMU_RUN_SHIFT	2
#define MM_IOMMU_RUN_MAX	1023UL
#define MM_IOMMU_HPA_MASK	(~0xfffUL)

#define MM_IOMMU_BLOCK_SHIFT	(PAGE_SHIFT - 3)
#define MM_IOMMU_BLOCK_WORDS	BIT(MM_IOMMU_BLOCK_SHIFT)

/**
 * struct mm_iommu_region - one pre-registered region
 * @ua: first user address
 * @end: the address after the last (regions never reach 2^64)
 * @mapped: 1 while alive plus one per live TCE; 0 = claimed or dead
 * @dev_hpa: base of device memory, when @dev
 * @chunk_shift: log2 of what one chunk word covers
 * @dev: device memory, no struct pages: nothing pinned, nothing charged
 * @claimed: registration still under way (store->lock)
 * @used: registrations (store->lock)
 * @charged: pages charged to locked_vm
 * @metadata: bytes allocated for this region, itself included
 * @contig: number of chunks held in one word
 * @nr_blocks: blocks of chunk words
 * @mm: whose memory it is; held from unregister to the final unpin
 * @rwork: final unpin, after a grace period, in process context
 * @block: chunk words by blocks of MM_IOMMU_BLOCK_WORDS
 *
 * All but @mapped, @used, @claimed and the dirty bits is immutable once
 * @mapped has become non-zero.
 */
struct mm_iommu_region {
	unsigned long ua;
	unsigned long end;
	atomic64_t mapped;
	unsigned long dev_hpa;
	u8 chunk_shift;
	bool dev;
	bool claimed;
	unsigned long used;
	unsigned long charged;
	unsigned long metadata;
	unsigned long contig;
	unsigned long nr_blocks;
	struct mm_struct *mm;
	struct rcu_work rwork;
	u64 *block[];
};

#define MM_IOMMU_LEAF		30

struct mm_iommu_leaf {
	struct rcu_head rcu;
	unsigned int nr;
	unsigned long ua[MM_IOMMU_LEAF];
	struct mm_iommu_region *mem[MM_IOMMU_LEAF];
};

/*
 * e[i].ua is where the leaf's first region starts, so that a region which covers
 * an address is always in the leaf that the address leads to. e[0].ua is not looked
 * at: the first leaf takes everything below the second.
 */
struct mm_iommu_top {
	struct rcu_head rcu;
	unsigned int cap;
	unsigned int nr;
	struct {
		unsigned long ua;
		struct mm_iommu_leaf *leaf;
	} e[];
};

/**
 * struct mm_iommu_store - all regions of one mm
 * @lock: every change of the index, and @used/@claimed of the regions
 * @seq: odd while words of the index move
 * @top: the index, NULL before the first region
 * @main: a large region, most of a guest's memory, which is looked at first; or NULL
 * @pending: regions unregistered but not yet unpinned
 * @wait: registrations that wait for a claim, or for @pending to drain
 * @next: in the list of all stores (debugfs)
 * @rcu: frees the store after its last reader
 * @mm: whose store it is
 * @pid: process that registered first
 * @comm: its name then
 */
struct mm_iommu_store {
	spinlock_t lock;	/* see above */
	seqcount_spinlock_t seq;
	struct mm_iommu_top __rcu *top;
	struct mm_iommu_region *main;
	atomic_t pending;
	wait_queue_head_t wait;
	struct list_head next;
	struct rcu_head rcu;
	struct mm_struct *mm;
	pid_t pid;
	char comm[TASK_COMM_LEN];
};

/* The store of @mm, NULL if it never registered anything. Lives as long as @mm. */
static __always_inline struct mm_iommu_store *mm_iommu_store(struct mm_struct *mm)
{
	return READ_ONCE(mm->context.iommu_store);
}

/* Index of the last of @nr sorted keys that is <= @key, 0 if there is none. */
#define mm_iommu_last_le(nr, key, at)					\
({									\
	unsigned int __base = 0, __n = (nr);				\
									\
	while (__n > 1) {						\
		unsigned int __half = __n >> 1;				\
									\
		if (READ_ONCE(at(__base + __half)) <= (key))		\
			__base += __half;				\
		__n -= __half;						\
	}								\
	__base;								\
})

/* One try at finding the region that covers @ua; a miss may be a move's fault. */
static __always_inline struct mm_iommu_region *
mm_iommu_find_once(struct mm_iommu_store *store, unsigned long ua)
{
	struct mm_iommu_region *mem;
	struct mm_iommu_leaf *leaf;
	struct mm_iommu_top *top;
	unsigned int nr, i;

	mem = READ_ONCE(store->main);
	if (mem && ua - mem->ua < mem->end - mem->ua)
		return mem;

	top = rcu_dereference_raw(store->top);
	nr = top ? READ_ONCE(top->nr) : 0;
	if (!nr)
		return NULL;
#define TOP_UA(i)	(top->e[i].ua)
	i = mm_iommu_last_le(nr, ua, TOP_UA);
#undef TOP_UA
	leaf = READ_ONCE(top->e[i].leaf);
	nr = leaf ? READ_ONCE(leaf->nr) : 0;
	if (!nr)
		return NULL;
#define LEAF_UA(i)	(leaf->ua[i])
	i = mm_iommu_last_le(nr, ua, LEAF_UA);
#undef LEAF_UA
	mem = READ_ONCE(leaf->mem[i]);
	if (!mem || ua < mem->ua || ua >= mem->end)
		return NULL;
	return mem;
}

static __always_inline struct mm_iommu_region *
mm_iommu_find(struct mm_iommu_store *store, unsigned long ua, bool rm)
{
	struct mm_iommu_region *mem;
	unsigned int seq;

	for (;;) {
		/* Real mode never waits: a miss there only means 'too hard'. */
		if (!rm)
			seq = raw_read_seqcount_begin(&store->seq);
		mem = mm_iommu_find_once(store, ua);
		if (mem || rm || !read_seqcount_retry(&store->seq, seq))
			return mem;
	}
}

/**
 * struct mm_iommu_run - where a user address leads
 * @hpa: host physical address
 * @len: contiguous bytes from there, never past the region's end
 * @word: what holds the dirty bit, NULL for device memory
 * @shift: log2 of what @word covers
 */
struct mm_iommu_run {
	unsigned long hpa;
	unsigned long len;
	u64 *word;
	unsigned int shift;
};

/*
 * Translate @ua, which @mem covers. @len is a lower bound only where a run has
 * more than 1023 followers, or leads from a scattered chunk into the next one:
 * no IOMMU page can be aligned and contiguous across such a place unnoticed.
 */
static __always_inline void
mm_iommu_resolve(struct mm_iommu_region *mem, unsigned long ua,
		 struct mm_iommu_run *run)
{
	unsigned int shift = mem->chunk_shift;
	unsigned long chunk, off;
	u64 *w, v;

	if (mem->dev) {
		run->hpa = mem->dev_hpa + (ua - mem->ua);
		run->len = mem->end - ua;
		run->word = NULL;
		return;
	}

	chunk = (ua >> shift) - (mem->ua >> shift);
	w = &mem->block[chunk >> MM_IOMMU_BLOCK_SHIFT]
		       [chunk & (MM_IOMMU_BLOCK_WORDS - 1)];
	v = READ_ONCE(*w);
	if (!(v & MM_IOMMU_CONTIG)) {
		w = (u64 *)v + ((ua & (BIT(shift) - 1)) >> PAGE_SHIFT);
		v = READ_ONCE(*w);
		shift = PAGE_SHIFT;
	}
	off = ua & (BIT(shift) - 1);
	run->hpa = (v & MM_IOMMU_HPA_MASK) + off;
	run->len = ((((v >> MM_IOMMU_RUN_SHIFT) & MM_IOMMU_RUN_MAX) + 1) << shift) - off;
	run->len = min(run->len, mem->end - ua);
	run->word = w;
	run->shift = shift;
}

/*
 * The page words from @ua on, if it is in a scattered chunk of @mem, which covers it;
 * *@n tells how many there are, in the region or not. Else NULL.
 */
static __always_inline u64 *
mm_iommu_page_words(struct mm_iommu_region *mem, unsigned long ua,
		    unsigned long *n)
{
	unsigned int shift = mem->chunk_shift;
	unsigned long chunk, page;
	u64 v;

	if (mem->dev)
		return NULL;
	chunk = (ua >> shift) - (mem->ua >> shift);
	v = READ_ONCE(mem->block[chunk >> MM_IOMMU_BLOCK_SHIFT]
				[chunk & (MM_IOMMU_BLOCK_WORDS - 1)]);
	if (v & MM_IOMMU_CONTIG)
		return NULL;
	page = (ua & (BIT(shift) - 1)) >> PAGE_SHIFT;
	*n = BIT(shift - PAGE_SHIFT) - page;
	return (u64 *)v + page;
}

/*
 * Set the dirty bits of the words behind [ua, ua + len), one contiguous run that
 * @run describes: its words are neighbours, in one leaf or in blocks. Other bits
 * of a word never change and a dirty bit is never cleared, so no atomics.
 */
static __always_inline void
mm_iommu_mark_dirty(struct mm_iommu_region *mem, unsigned long ua,
		    unsigned long len, struct mm_iommu_run *run)
{
	unsigned long end = ua + len;
	u64 v;

	for (;;) {
		if (!run->word)
			return;
		v = READ_ONCE(*run->word);
		if (!(v & MM_IOMMU_DIRTY))
			WRITE_ONCE(*run->word, v | MM_IOMMU_DIRTY);
		ua = (ua | (BIT(run->shift) - 1)) + 1;
		if (ua >= end)
			return;
		mm_iommu_resolve(mem, ua, run);
	}
}

/* See mm_iommu_map_get(). The caller is an RCU reader, or real mode. */
static __always_inline long
__mm_iommu_map_get(struct mm_struct *mm, unsigned long ua, unsigned long size,
		   unsigned int shift, bool write, unsigned long *hpa, bool rm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	struct mm_iommu_region *mem;
	unsigned long mask = BIT(shift) - 1;
	struct mm_iommu_run run;

	if (!store)
		return -EFAULT;
	mem = mm_iommu_find(store, ua, rm);
	if (!mem)
		return -EFAULT;
	/* The words are valid only once @mapped is not 0. */
	if (!atomic64_read_acquire(&mem->mapped))
		return -ENXIO;

	mm_iommu_resolve(mem, ua, &run);
	size = min(size, run.len) & ~mask;
	if (!size || ((ua | run.hpa) & mask))
		return -EINVAL;
	if (!atomic64_add_unless(&mem->mapped, size >> shift, 0))
		return -ENXIO;

	*hpa = run.hpa;
	if (write)
		mm_iommu_mark_dirty(mem, ua, size, &run);
	return size;
}

/*
 * Drop @n references of @mem, never below the 1 that the registration itself holds,
 * not even for a moment: others would be refused. Release: what the caller did to
 * its TCEs comes before the region may die.
 */
static __always_inline int
mm_iommu_put(struct mm_iommu_region *mem, unsigned long n)
{
	s64 mapped = atomic64_read(&mem->mapped);

	do {
		if (mapped < 1 || n > (unsigned long)mapped - 1)
			return -ERANGE;
	} while (!atomic64_try_cmpxchg_release(&mem->mapped, &mapped, mapped - n));
	return 0;
}

/* See mm_iommu_map_put(). */
static __always_inline int
__mm_iommu_map_put(struct mm_struct *mm, unsigned long ua, unsigned long n,
		   bool rm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	struct mm_iommu_region *mem;

	mem = store ? mm_iommu_find(store, ua, rm) : NULL;
	return mem ? mm_iommu_put(mem, n) : -ENOENT;
}

/* See mm_iommu_translate(). */
static __always_inline long
__mm_iommu_translate(struct mm_struct *mm, unsigned long ua,
		     unsigned long *hpa, bool rm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	struct mm_iommu_region *mem;
	struct mm_iommu_run run;

	mem = store ? mm_iommu_find(store, ua, rm) : NULL;
	if (!mem || !atomic64_read_acquire(&mem->mapped))
		return -EFAULT;
	mm_iommu_resolve(mem, ua, &run);
	*hpa = run.hpa;
	return run.len;
}

/* See mm_iommu_extent(). The caller is an RCU reader, or real mode. */
static __always_inline bool
__mm_iommu_extent(struct mm_struct *mm, unsigned long ua, unsigned long *start,
		  unsigned long *size, bool rm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	struct mm_iommu_region *mem;

	mem = store ? mm_iommu_find(store, ua, rm) : NULL;
	if (!mem || !atomic64_read_acquire(&mem->mapped))
		return false;
	*start = mem->ua;
	*size = mem->end - mem->ua;
	return true;
}

#endif /* MM_IOMMU_CORE_H */
