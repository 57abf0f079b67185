// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Multilevel TCE tables: creation, growth, reclaim, destruction.
 *
 * asm/iommu_levels.h describes the words and the walk.
 *
 * Growth. The levels that are missing on the way to a leaf are built as a chain and then
 * linked by one cmpxchg(). So a path is never half built, a failed allocation has nothing to
 * undo in the table, and of two CPUs that add the same level the loser frees its chain.
 *
 *   user's table   iommu_levels_grow(), under it_grow, GFP_KERNEL_ACCOUNT. The new
 *                  levels are charged to the owner's locked_vm before anything
 *                  is allocated.
 *   host's table   iommu_levels_grow_host(), lockless, the caller's gfp, not charged
 *   or a domain's  to locked_vm. A domain (IOMMU API) passes GFP_KERNEL_ACCOUNT.
 *
 * Nothing else allocates: not a walk, not a clear, nothing with the MMU off.
 *
 * Reclaim (user's tables only). Setters, real mode and the hardware may still walk to a
 * leaf while it is reclaimed. That is safe because:
 *
 *   1. Each line is locked and, if all its words are clear, marked DEAD. If one is live,
 *      the marks are removed and the leaf stays. Once all lines are DEAD, no entry of the
 *      leaf can change: a setter must lock its line, finds DEAD, and repeats the walk.
 *      A word is clear only after its TCE has been cleared, so from here on no TCE of the
 *      leaf lets a device reach memory (reclaim-setter).
 *   2. The link above is cleared. New walks, by software or hardware, find a hole; a
 *      setter that repeats its walk waits for it_grow and gets a new leaf. An indirect
 *      level without links is unlinked likewise. Only holders of it_grow set links, so
 *      it cannot get a new one concurrently.
 *   3. tce_kill() over the range invalidates the links that the hardware has cached. Any
 *      TCE that it may still have read from the leaf has no permission bits.
 *   4. The blocks are freed after an RCU grace period, when all walkers that found the leaf
 *      before step 2 have ended, those with the MMU off included (reclaim-walker).
 *
 * Pruning (a domain's tables, without view words). The caller of iommu_levels_prune() owns the
 * range: the IOMMU API allows no concurrent map or unmap there. So no other caller sets
 * an entry or a link in a block that lies wholly in the range, and steps 2 to 4
 * above need no lock. A block that extends beyond the range stays: another caller
 * may be setting entries there.
 *
 * Destruction. Each walker holds a reference on the table, or runs in an RCU or SRCU read
 * side that the holder of a reference waits for before it drops it. The hardware's window
 * has been closed and invalidated. So levels are freed and uncharged immediately. Only
 * struct iommu_table itself waits for a grace period, for iommu_group_table_get().
 *
 * Charge. While it_grow is not held, it_allocated_size, as a whole rounded up to pages, is
 * charged to locked_vm of it_mm (mm_iommu_uncharge() may leave some to a worker). Blocks that
 * wait for their grace period are already uncharged there; the memory cgroup is uncharged when
 * they are freed.
 *
 * A large range is reclaimed in steps. Each step takes it_grow, invalidates and uncharges, so
 * growth elsewhere in the table waits for one step only.
 *
 * Lock order: it_grow, then mm->mmap_lock.
 */

#include <linux/kernel.h>
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/mm_iommu.h>

static unsigned long level_bytes(struct iommu_table *tbl)
{
	return tbl->it_level_size * sizeof(__be64);
}

/* Bytes of a block @level steps above the leaves. A leaf with TCEs and view words has both. */
static unsigned long block_bytes(struct iommu_table *tbl, unsigned int level)
{
	return level_bytes(tbl) << (!level && tbl->it_view_off);
}

/*
 * kmalloc aligns a power of two naturally, as the hardware requires. Links hold physical
 * addresses, so kmemleak would not find a reference to the block.
 */
static void *block_alloc(unsigned long bytes, int nid, gfp_t gfp)
{
	void *block = kmalloc_node(bytes, gfp | __GFP_ZERO | __GFP_NOWARN, nid);

	kmemleak_ignore(block);
	return block;
}

static unsigned int level_shift(struct iommu_table *tbl)
{
	return ilog2(tbl->it_level_size);
}

/* The word for entry @idx in a block @level steps above the leaves. */
static __be64 *block_slot(struct iommu_table *tbl, __be64 *block,
			  unsigned long idx, unsigned int level)
{
	return block + ((idx >> (level * level_shift(tbl))) &
			(tbl->it_level_size - 1));
}

static __be64 link_make(void *block)
{
	return cpu_to_be64(__pa(block) | IOMMU_LINK_VALID);
}

/*
 * Link @block if the slot is empty. Full barrier: its zeroes are visible before the link
 * (level-publication).
 */
static bool slot_fill(__be64 *slot, void *block)
{
	return !cmpxchg((u64 __force *)slot, 0, (u64 __force)link_make(block));
}

static __be64 *link_follow(__be64 *slot)
{
	unsigned long link = iommu_tce_load(slot);

	return link & IOMMU_LINK_VALID ? __va(link & IOMMU_LINK_PA) : NULL;
}

/* Free @block and all below it. @level is 4 at most (IODA has five levels). */
static void tree_free(struct iommu_table *tbl, __be64 *block, unsigned int level)
{
	unsigned long i;
	__be64 *below;

	for (i = 0; level && i < tbl->it_level_size; i++) {
		if (!block[i])
			continue;
		below = link_follow(block + i);
		if (below)
			tree_free(tbl, below, level - 1);
	}
	kfree(block);
	if (iommu_table_has_view(tbl) || tbl->it_domain)
		cond_resched();
}

/* Free what chain_alloc() made; any context, as iommu_levels_grow_host(). */
static void chain_free(struct iommu_table *tbl, __be64 *block, unsigned long idx,
		       unsigned int level)
{
	__be64 *below;

	for (; block; block = below) {
		below = level ? link_follow(block_slot(tbl, block, idx, level--)) : NULL;
		kfree(block);
	}
}

/* Allocate the blocks from @level down to the leaf of @idx, and link them to each other. */
static __be64 *chain_alloc(struct iommu_table *tbl, unsigned long idx,
			   unsigned int level, gfp_t gfp)
{
	__be64 *block, *below = NULL;
	unsigned int l;

	for (l = 0; l <= level; l++) {
		block = block_alloc(block_bytes(tbl, l), tbl->it_nid, gfp);
		if (!block) {
			chain_free(tbl, below, idx, l - 1);
			return NULL;
		}
		if (l)
			*block_slot(tbl, block, idx, l) = link_make(below);
		below = block;
	}
	return block;
}

/*
 * The empty slot on the way to @idx. *@level is the level of its missing block, counted from
 * the leaves. NULL: the leaf exists.
 */
static __be64 *hole_find(struct iommu_table *tbl, unsigned long idx,
			 unsigned int *level)
{
	__be64 *block = tbl->it_root;
	unsigned int l;
	__be64 *slot;

	for (l = tbl->it_indirect_levels; l; l--) {
		slot = block_slot(tbl, block, idx, l);
		block = link_follow(slot);
		if (!block) {
			*level = l - 1;
			return slot;
		}
	}
	return NULL;
}

/* Charge @bytes more, killably, or uncharge them if negative, which never fails. */
static int table_charge(struct iommu_table *tbl, long bytes)
{
	unsigned long was = tbl->it_allocated_size, now = was + bytes;
	long pages = DIV_ROUND_UP(now, PAGE_SIZE) - DIV_ROUND_UP(was, PAGE_SIZE);
	int ret = 0;

	if (pages > 0)
		ret = mm_iommu_charge(tbl->it_mm, pages);
	else
		mm_iommu_uncharge(tbl->it_mm, -pages);
	if (!ret)
		tbl->it_allocated_size = now;
	return ret;
}

/* Add to it_allocated_size of a table without view words, which may grow concurrently. */
static void host_allocated(struct iommu_table *tbl, long bytes)
{
	unsigned long was = READ_ONCE(tbl->it_allocated_size);

	while (!try_cmpxchg(&tbl->it_allocated_size, &was, was + bytes))
		;
}

/**
 * iommu_levels_grow_host - make the leaf of an entry of a table without view words
 * @tbl: a host's own table, or a domain's
 * @idx: entry, counted from the table's start
 * @gfp: for the allocations
 *
 * Context: as @gfp allows, MMU on; may run concurrently with itself.
 * Return: 0 if the leaf exists now; -ENOMEM, and nothing has changed.
 */
int iommu_levels_grow_host(struct iommu_table *tbl, unsigned long idx, gfp_t gfp)
{
	unsigned int level;
	__be64 *slot, *chain;

	for (;;) {
		slot = hole_find(tbl, idx, &level);
		if (!slot)
			return 0;
		chain = chain_alloc(tbl, idx, level, gfp);
		if (!chain)
			return -ENOMEM;
		if (slot_fill(slot, chain))
			break;
		/* Another CPU has filled the slot, perhaps without our leaf. */
		chain_free(tbl, chain, idx, level);
	}

	host_allocated(tbl, level * level_bytes(tbl) + block_bytes(tbl, 0));
	return 0;
}

#ifdef CONFIG_IOMMU_API
/**
 * iommu_levels_grow - make the leaf of an entry of a user's table
 * @tbl: table with view words
 * @idx: entry, counted from the table's start
 *
 * The new levels are charged to locked_vm of @tbl->it_mm, against current's limit.
 *
 * Context: may sleep; not under mmap_lock.
 * Return: 0 if the leaf exists now. -ENOMEM: no memory, or the limit is reached; -ENODEV: the
 * table has been revoked; -EINTR on a fatal signal. On failure nothing has changed.
 */
int iommu_levels_grow(struct iommu_table *tbl, unsigned long idx)
{
	unsigned int level;
	__be64 *slot, *chain;
	long bytes;
	int ret = 0;

	mutex_lock(&tbl->it_grow);
	if (READ_ONCE(tbl->it_revoked)) {
		ret = -ENODEV;
		goto unlock;
	}
	slot = hole_find(tbl, idx, &level);
	if (!slot)
		goto unlock;

	bytes = level * level_bytes(tbl) + block_bytes(tbl, 0);
	ret = table_charge(tbl, bytes);
	if (ret)
		goto unlock;
	chain = chain_alloc(tbl, idx, level, GFP_KERNEL_ACCOUNT);
	if (chain) {
		slot_fill(slot, chain);		/* still empty: we hold it_grow */
	} else {
		table_charge(tbl, -bytes);
		ret = -ENOMEM;
	}
unlock:
	mutex_unlock(&tbl->it_grow);
	return ret;
}
EXPORT_SYMBOL_GPL(iommu_levels_grow);

/* Unlinked blocks that wait for a grace period. */
struct reclaim_batch {
	struct rcu_head rcu;
	unsigned int nr;
	void *block[126];
};

struct reclaim {
	struct iommu_table *tbl;
	unsigned long first, end;	/* the range */
	unsigned long at, until;	/* its part that is in work */
	unsigned long bytes;
	gfp_t gfp;			/* of the batches */
	bool killed;			/* the range has been invalidated */
	struct reclaim_batch *batch;
};

/* Leaves per step, for which it_grow is held */
#define RECLAIM_STEP	64UL

static void reclaim_free(struct rcu_head *rcu)
{
	struct reclaim_batch *batch = container_of(rcu, struct reclaim_batch, rcu);

	while (batch->nr)
		kfree(batch->block[--batch->nr]);
	kfree(batch);
}

/* Steps 3 and 4 of this file's header: clear-before-invalidate, reclaim-walker */
static void reclaim_flush(struct reclaim *r)
{
	if (!r->batch || !r->batch->nr)
		return;
	iommu_tce_kill(r->tbl, r->tbl->it_offset + r->first, r->end - r->first);
	r->killed = true;
	call_rcu(&r->batch->rcu, reclaim_free);
	r->batch = NULL;
}

/* Is there room for one more block? Not without memory: then the block stays. */
static bool reclaim_room(struct reclaim *r)
{
	if (r->batch && r->batch->nr == ARRAY_SIZE(r->batch->block))
		reclaim_flush(r);
	if (!r->batch)
		r->batch = kzalloc_obj(*r->batch, r->gfp | __GFP_NOWARN);
	return r->batch;
}

static void reclaim_unlink(struct reclaim *r, __be64 *slot, void *block,
			   unsigned int level)
{
	WRITE_ONCE(*slot, 0);
	r->batch->block[r->batch->nr++] = block;
	r->bytes += block_bytes(r->tbl, level);
}

/* Mark a line DEAD if it is not locked and all its entries are clear. */
static bool line_kill(u64 *head)
{
	bool clear;

	/* No one must wait for a preempted holder. */
	preempt_disable();
	clear = iommu_view_trylock(head);
	if (clear) {
		clear = iommu_view_line_clear(head);
		/* Either way the line is unlocked. */
		if (clear)
			WRITE_ONCE(*head, IOMMU_VIEW_DEAD);
		else
			iommu_view_unlock(head);
	}
	preempt_enable();
	return clear;
}

/* Step 1 of this file's header, for all lines of a leaf */
static bool leaf_kill(struct iommu_table *tbl, __be64 *leaf)
{
	u64 *view = (u64 __force *)leaf + tbl->it_view_off;
	u64 *end = view + tbl->it_level_size, *head;

	lockdep_assert_held(&tbl->it_grow);
	/* Find most leaves that are in use without a store. */
	for (head = view; head < end; head += IOMMU_VIEW_LINE)
		if (!iommu_view_line_clear(head))
			return false;

	for (head = view; head < end; head += IOMMU_VIEW_LINE)
		if (!line_kill(head))
			break;
	if (head == end)
		return true;

	while (head > view) {
		head -= IOMMU_VIEW_LINE;
		WRITE_ONCE(*head, 0);
	}
	return false;
}

static bool level_is_empty(struct iommu_table *tbl, __be64 *block)
{
	unsigned long i;

	for (i = 0; i < tbl->it_level_size; i++)
		if (READ_ONCE(block[i]))
			return false;
	return true;
}

/*
 * Is a block's turn to be unlinked, if it is unused? A leaf, and any block of a domain, must lie
 * wholly in the range. A user's indirect level need not, but what it has of the range must be done.
 */
static bool block_done(const struct reclaim *r, unsigned int level, unsigned long start,
		       unsigned long end)
{
	if (level && iommu_table_has_view(r->tbl))
		return end <= r->until || r->until == r->end;
	return start >= r->first && end <= r->until;
}

/* A domain's leaves are clear, see iommu_levels_prune(). */
static bool block_unused(struct iommu_table *tbl, __be64 *block, unsigned int level)
{
	if (level)
		return level_is_empty(tbl, block);
	return !iommu_table_has_view(tbl) || leaf_kill(tbl, block);
}

/*
 * Unlink the unused blocks below @block, as far as the part in work goes. @block is @level steps
 * above the leaves and starts at entry @start. Recursion ends after four steps.
 */
static void unlink_below(struct reclaim *r, __be64 *block, unsigned int level,
			 unsigned long start)
{
	unsigned int below = level * level_shift(r->tbl);
	unsigned long end = min(r->until, start + (r->tbl->it_level_size << below));
	unsigned long idx;
	__be64 *slot, *child;

	for (idx = round_down(max(r->at, start), BIT(below)); idx < end; idx += BIT(below)) {
		slot = block_slot(r->tbl, block, idx, level);
		child = link_follow(slot);
		if (!child)
			continue;
		if (level > 1)
			unlink_below(r, child, level - 1, idx);
		/* A block that extends beyond the table ends at the table's end. */
		if (!block_done(r, level - 1, idx, min(idx + BIT(below), r->tbl->it_size)))
			continue;
		if (!reclaim_room(r))
			return;
		if (block_unused(r->tbl, child, level - 1))
			reclaim_unlink(r, slot, child, level - 1);
	}
}

/* The end of the part from @r->at on: RECLAIM_STEP leaves, or a hole if that is larger */
static unsigned long reclaim_part(const struct reclaim *r)
{
	unsigned long leaf = r->tbl->it_level_size, until;
	struct iommu_span span;

	/* Nothing is freed during this walk. */
	lockdep_assert_held(&r->tbl->it_grow);
	until = round_down(r->at, leaf) + RECLAIM_STEP * leaf;
	iommu_levels_walk(r->tbl, r->at, &span);
	if (!span.view)
		until = max(until, r->at + span.nr);
	return min(until, r->end);
}

/**
 * iommu_levels_reclaim - free the empty levels of a range
 * @tbl: user's table
 * @idx: first entry, counted from the table's start
 * @nr: entries; the range lies within the table
 *
 * Frees and uncharges the leaves that lie wholly in the range and have no live entry, and
 * then the indirect levels without links, but never the top level. Entries may be set and
 * levels added concurrently. Levels that cannot be freed now stay, and so does the rest
 * of the range after a fatal signal.
 *
 * Context: may sleep, reschedules; not under mmap_lock.
 */
void iommu_levels_reclaim(struct iommu_table *tbl, unsigned long idx,
			  unsigned long nr)
{
	struct reclaim r = {
		.tbl = tbl, .first = idx, .end = idx + nr, .gfp = GFP_KERNEL,
	};

	if (!iommu_table_has_view(tbl) || !tbl->it_indirect_levels)
		return;

	for (r.at = idx; r.at < r.end && !fatal_signal_pending(current); r.at = r.until) {
		mutex_lock(&tbl->it_grow);
		r.until = reclaim_part(&r);
		unlink_below(&r, tbl->it_root, tbl->it_indirect_levels, 0);
		reclaim_flush(&r);
		if (r.bytes)
			table_charge(tbl, -(long)r.bytes);
		r.bytes = 0;
		mutex_unlock(&tbl->it_grow);
		cond_resched();
	}
	kfree(r.batch);
}
EXPORT_SYMBOL_GPL(iommu_levels_reclaim);

/**
 * iommu_levels_prune - free the levels of a range that has been cleared
 * @tbl: a domain's table
 * @idx: first entry, counted from the table's start
 * @nr: entries, all clear; the range lies within the table
 *
 * Frees all levels that lie wholly in the range, after invalidating the range
 * and a grace period. Without memory for a list of them, they stay.
 *
 * Context: any with the MMU on; no other caller sets entries of the range.
 * Return: true if the range has been invalidated, as some level was freed.
 */
bool iommu_levels_prune(struct iommu_table *tbl, unsigned long idx,
			unsigned long nr)
{
	struct reclaim r = {
		.tbl = tbl, .first = idx, .end = idx + nr, .gfp = GFP_NOWAIT,
		.at = idx, .until = idx + nr,
	};

	/* A small range, as usual, contains no whole leaf. */
	if (!tbl->it_indirect_levels ||
	    min(round_up(idx, tbl->it_level_size) + tbl->it_level_size, tbl->it_size) > r.end)
		return false;

	unlink_below(&r, tbl->it_root, tbl->it_indirect_levels, 0);
	reclaim_flush(&r);
	kfree(r.batch);
	if (r.bytes)
		host_allocated(tbl, -(long)r.bytes);
	return r.killed;
}
#endif /* CONFIG_IOMMU_API */

/**
 * iommu_levels_shape - choose levels
 * @bits: log2 of the table's entries
 * @levels: how many levels at most (0 counts as 1)
 * @max_bits: what levels times log2 of a level's words may reach at most
 * @pair: leaves of several levels hold TCEs and view words
 * @shift: log2 of the words of a level
 *
 * A level that would have a single word in use is never made: it would cost
 * memory and a step per walk, and give the hardware index bits that no address
 * of the window has. So @levels is a limit, and small tables have fewer.
 *
 * Return: number of levels; -EINVAL if a level would be too large to allocate.
 */
int iommu_levels_shape(unsigned int bits, unsigned int levels,
		       unsigned int max_bits, bool pair, unsigned int *shift)
{
	unsigned int n = min(levels, DIV_ROUND_UP(bits, IOMMU_LEVEL_MIN_SHIFT));

	for (n = max(n, 1U); n; n--) {
		*shift = max_t(unsigned int, DIV_ROUND_UP(bits, n), IOMMU_LEVEL_MIN_SHIFT);
		if (n * *shift <= max_bits)
			break;
	}
	/* A single level may be two allocations; leaves of several levels may not. */
	if (!n || *shift + 3 + (pair && n > 1) > ilog2(KMALLOC_MAX_SIZE))
		return -EINVAL;
	return n;
}

/*
 * Allocate the only level's TCEs and view words separately, as one allocation failed. The view
 * words must not be right behind the TCEs: see leaf_is_split().
 */
static int leaf_alloc_split(struct iommu_table *tbl, gfp_t gfp)
{
	u64 *view;

	tbl->it_root = block_alloc(level_bytes(tbl), tbl->it_nid, gfp);
	view = block_alloc(level_bytes(tbl), tbl->it_nid, gfp);
	if (!tbl->it_root || !view) {
		kfree(tbl->it_root);
		kfree(view);
		tbl->it_root = NULL;
		return -ENOMEM;
	}
	tbl->it_view_off = view - (u64 __force *)tbl->it_root;
	if (tbl->it_view_off == tbl->it_level_size) {
		tbl->it_root = (__be64 __force *)view;
		tbl->it_view_off = -tbl->it_view_off;
	}
	return 0;
}

static bool leaf_is_split(struct iommu_table *tbl)
{
	return tbl->it_view_off && tbl->it_view_off != tbl->it_level_size;
}

/* Allocate the top level. If it is the only one, TCEs and view words may be separate. */
static int root_alloc(struct iommu_table *tbl, unsigned long bytes, gfp_t gfp)
{
	if (bytes <= KMALLOC_MAX_SIZE)
		tbl->it_root = block_alloc(bytes, tbl->it_nid, gfp);
	if (tbl->it_root)
		return 0;
	return bytes > level_bytes(tbl) ? leaf_alloc_split(tbl, gfp) : -ENOMEM;
}

/**
 * iommu_levels_init - give a table its top level, and its owner
 * @tbl: zeroed table; @tbl->it_size and @tbl->it_domain have been set
 * @nid: node for this level and all that follow
 * @levels: see iommu_levels_shape()
 * @shift: see iommu_levels_shape()
 * @tces: leaves hold TCEs (else they are a hypervisor's)
 * @mm: whose addresses the view words will hold; NULL: a host's own table or a domain's,
 *	without view words
 *
 * The only constructor of a table and its view words; iommu_levels_destroy() is the only
 * destructor. Charges what it allocates to @mm's locked_vm, against current's limit.
 *
 * Context: may sleep; not under mmap_lock.
 * Return: 0; -ENOMEM: no memory or over the limit; -EINTR on a fatal signal. On failure nothing
 * stays.
 */
int iommu_levels_init(struct iommu_table *tbl, int nid, unsigned int levels,
		      unsigned int shift, bool tces, struct mm_struct *mm)
{
	gfp_t gfp = mm || tbl->it_domain ? GFP_KERNEL_ACCOUNT : GFP_KERNEL;
	unsigned long bytes;
	int ret;

	mutex_init(&tbl->it_grow);
	tbl->it_nid = nid;
	tbl->it_level_size = BIT(shift);
	tbl->it_indirect_levels = levels - 1;
	tbl->it_view_off = mm && tces ? tbl->it_level_size : 0;
	tbl->it_mm = mm;
	bytes = block_bytes(tbl, tbl->it_indirect_levels);

	if (mm) {
		ret = table_charge(tbl, bytes);
		if (ret)
			goto no_owner;
		mmgrab(mm);
	} else {
		tbl->it_allocated_size = bytes;
	}

	ret = root_alloc(tbl, bytes, gfp);
	if (!ret)
		return 0;

	if (mm) {
		table_charge(tbl, -(long)bytes);
		mmdrop(mm);
	}
no_owner:
	tbl->it_mm = NULL;
	tbl->it_allocated_size = 0;
	return ret;
}

/**
 * iommu_levels_destroy - free all levels, uncharge them, drop the owner
 * @tbl: table that no walker and no hardware can reach; may be without levels
 *
 * Context: may sleep, unless @tbl is a host's own.
 */
void iommu_levels_destroy(struct iommu_table *tbl)
{
	struct mm_struct *mm = tbl->it_mm;

	if (!tbl->it_root)
		return;
	if (leaf_is_split(tbl))
		kfree((u64 __force *)tbl->it_root + tbl->it_view_off);
	tree_free(tbl, tbl->it_root, tbl->it_indirect_levels);
	tbl->it_root = NULL;
	if (mm) {
		table_charge(tbl, -(long)tbl->it_allocated_size);
		tbl->it_mm = NULL;
		mmdrop(mm);
	}
}
