// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pre-registered DMA memory: the life of a mm's regions.
 *
 * Invariant: a TCE that lets a device reach a page of a region holds one @mapped
 * reference, and a region with references is pinned, translated and in the index.
 * Teardown is the reverse of set-up:
 *
 *   register    claim the range -> charge locked_vm -> pin in batches, each with its
 *               words -> publish by setting @mapped to 1
 *   unregister  @mapped 1 -> 0 -> out of the index -> uncharge. After an RCU grace
 *               period the worker of the store unpins the pages and frees the words.
 *
 * A claimed region is in the index, so an overlap fails before a page is touched. Its
 * @mapped is 0, so no reader uses it. A failure undoes the steps in reverse order.
 *
 * locked_vm is correct whenever a call returns, so for a while the pages of a dead region are
 * pinned but not charged. Their number is bounded: a registration waits for the worker of its
 * own mm while there are more such pages than uncharged_few() allows.
 *
 * A region whose last owner abandons it while TCEs of others lead into it becomes an
 * orphan. It stays in the index until the last of these references is dropped; the caller
 * that drops it ends the region. See mm_iommu_abandon().
 *
 * Locks: store->lock for the regions of a mm, store_list_lock for the list of stores.
 * They never nest. mmap_lock is taken for charging and inside gup, never under either.
 * Only the process's own threads wait for it, see mm_iommu_uncharge().
 *
 * The layout of index and metadata is described in mm_iommu_core.h.
 */
#define pr_fmt(fmt) "mm_iommu: " fmt

#include <linux/capability.h>
#include <linux/debugfs.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <asm/mm_iommu.h>
#include <asm/pgtable.h>
#include "mm_iommu_core.h"

/* Pages pinned at a time: a multiple of every chunk */
#define MM_IOMMU_BATCH		1024UL

/* Bytes that may be pinned but no longer charged when a registration starts */
#define MM_IOMMU_UNCHARGED_MAX	SZ_1G

#define MM_IOMMU_GFP		(GFP_KERNEL_ACCOUNT | __GFP_NOWARN)

static LIST_HEAD(store_list);
static DEFINE_SPINLOCK(store_list_lock);

static struct workqueue_struct *unpin_wq;

/* ---- stores ---- */

/* A worker tries to uncharge what others have left. The time between two tries doubles: */
#define UNCHARGE_DELAY		(HZ / 10)
#define UNCHARGE_DELAY_MAX	HZ

static void store_work(struct work_struct *work);
static void uncharge_work(struct work_struct *work);

static struct mm_iommu_store *store_alloc(struct mm_struct *mm)
{
	struct mm_iommu_store *store = kzalloc_obj(*store, GFP_KERNEL_ACCOUNT);

	if (!store)
		return NULL;
	spin_lock_init(&store->lock);
	seqcount_latch_init(&store->regions.seq);
	INIT_LIST_HEAD(&store->dead);
	INIT_LIST_HEAD(&store->abandoned);
	INIT_WORK(&store->work, store_work);
	INIT_DELAYED_WORK(&store->uncharge_work, uncharge_work);
	store->uncharge_delay = UNCHARGE_DELAY;
	init_waitqueue_head(&store->wait);
	store->mm = mm;
	store->pid = task_tgid_nr(current);
	get_task_comm(store->comm, current);
	return store;
}

/* The store of @mm, allocated by its first charge or registration. NULL: no memory. */
static struct mm_iommu_store *store_get(struct mm_struct *mm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);

	if (store || !unpin_wq)
		return store;
	store = store_alloc(mm);
	if (!store)
		return NULL;

	spin_lock(&store_list_lock);
	if (mm->context.iommu_store) {
		kfree(store);
		store = mm->context.iommu_store;
	} else {
		list_add_tail(&store->next, &store_list);
		/* index-node: lockless readers of the pointer see it initialised. */
		smp_store_release(&mm->context.iommu_store, store);
	}
	spin_unlock(&store_list_lock);
	return store;
}

/* Queue the work on dead and abandoned regions. It references the mm, so the store stays. */
static void store_queue_work(struct mm_iommu_store *store)
{
	mmgrab(store->mm);
	if (!queue_work(unpin_wq, &store->work))
		mmdrop(store->mm);
}

/**
 * mm_iommu_init() - a new mm has no regions
 * @mm: the mm; its context may be a copy of its parent's
 */
void mm_iommu_init(struct mm_struct *mm)
{
	mm->context.iommu_store = NULL;
}

/**
 * mm_iommu_exit() - free the store of a mm
 * @mm: the mm, at its last mmdrop()
 *
 * Containers, orphans and the worker reference the mm, so no region is left here.
 * Context: may be atomic (the scheduler drops lazy mms).
 */
void mm_iommu_exit(struct mm_struct *mm)
{
	struct mm_iommu_store *store = mm->context.iommu_store;

	if (!store)
		return;
	mm->context.iommu_store = NULL;
	spin_lock(&store_list_lock);
	list_del(&store->next);
	spin_unlock(&store_list_lock);

	WARN_ON_ONCE(!RB_EMPTY_ROOT(&store->regions.tree[0]) || store->largest);
	WARN_ON_ONCE(!list_empty(&store->dead) || !list_empty(&store->abandoned));
	WARN_ON_ONCE(store->unpinning || atomic_long_read(&store->uncharging));
	kfree(store);
}

/* ---- locked_vm ---- */

/* Let the worker try once more. It references the mm, as the store's other work does. */
static void uncharge_queue(struct mm_iommu_store *store, unsigned long delay)
{
	mmgrab(store->mm);
	if (!queue_delayed_work(unpin_wq, &store->uncharge_work, delay))
		mmdrop(store->mm);
}

/* Uncharge what mm_iommu_uncharge() has left. Context: mmap_lock is held for writing. */
static void uncharge_left(struct mm_iommu_store *store)
{
	unsigned long pages = atomic_long_xchg(&store->uncharging, 0);

	if (pages)
		__account_locked_vm(store->mm, pages, false, current, true);
}

/**
 * mm_iommu_charge() - charge pages to locked_vm
 * @mm: the caller's own mm
 * @pages: how many
 *
 * Context: may sleep, takes mmap_lock, killable.
 * Return: 0; -ENOMEM: no memory, or over current's RLIMIT_MEMLOCK; -EINTR on a fatal signal.
 */
int mm_iommu_charge(struct mm_struct *mm, unsigned long pages)
{
	struct mm_iommu_store *store;
	int ret;

	if (!pages)
		return 0;
	/* mm_iommu_uncharge() needs it, and can't fail. */
	store = store_get(mm);
	if (!store)
		return -ENOMEM;
	if (mmap_write_lock_killable(mm))
		return -EINTR;
	uncharge_left(store);
	ret = __account_locked_vm(mm, pages, true, current, capable(CAP_IPC_LOCK));
	mmap_write_unlock(mm);
	return ret;
}
EXPORT_SYMBOL_GPL(mm_iommu_charge);

/* mmap_write_lock() has no variant that tries. What it does beyond this is for changes of VMAs. */
static bool uncharge_lock(struct mm_struct *mm)
{
	if (current->mm == mm)
		return !down_write_killable(&mm->mmap_lock);
	return down_write_trylock(&mm->mmap_lock);
}

/**
 * mm_iommu_uncharge() - uncharge pages
 * @mm: the mm; the caller references it
 * @pages: how many of those that mm_iommu_charge() charged
 *
 * A page fault may hold mmap_lock for as long as a file system of the user's likes, which not
 * even killing the process need end. So only the process's own threads wait for the lock,
 * until they are killed: for them locked_vm is correct when this returns. Others hold locks
 * that unbinding a driver needs. If the lock is not free, a worker uncharges for them later, or
 * the next mm_iommu_charge() does.
 *
 * Context: may sleep, takes mmap_lock.
 */
void mm_iommu_uncharge(struct mm_struct *mm, unsigned long pages)
{
	struct mm_iommu_store *store;

	if (!pages)
		return;
	might_sleep();
	if (uncharge_lock(mm)) {
		__account_locked_vm(mm, pages, false, current, true);
		up_write(&mm->mmap_lock);
		return;
	}
	store = mm_iommu_store(mm);
	atomic_long_add(pages, &store->uncharging);
	uncharge_queue(store, 0);
}
EXPORT_SYMBOL_GPL(mm_iommu_uncharge);

/*
 * Never waits for mmap_lock: the queue has a limited number of workers for all mms, and they
 * unpin memory.
 */
static void uncharge_work(struct work_struct *work)
{
	struct mm_iommu_store *store = container_of(to_delayed_work(work),
						    struct mm_iommu_store, uncharge_work);
	struct mm_struct *mm = store->mm;

	if (down_write_trylock(&mm->mmap_lock)) {
		uncharge_left(store);
		up_write(&mm->mmap_lock);
		store->uncharge_delay = UNCHARGE_DELAY;
	} else {
		uncharge_queue(store, store->uncharge_delay);
		store->uncharge_delay = min(2 * store->uncharge_delay, UNCHARGE_DELAY_MAX);
	}
	mmdrop(mm);
}

/* ---- index ---- */

/* The region with the lowest address that ends above @ua, or NULL. */
static struct mm_iommu_region *
index_first_above(struct mm_iommu_store *store, unsigned long ua)
{
	struct mm_iommu_region *region, *found = NULL;
	struct rb_node *node;

	lockdep_assert_held(&store->lock);
	for (node = store->regions.tree[0].rb_node; node; ) {
		region = rb_entry(node, struct mm_iommu_region, node.node[0]);
		if (region->end > ua) {
			found = region;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

/* ---- metadata ---- */

static unsigned long region_pages(const struct mm_iommu_region *region)
{
	return region->dev ? 0 : (region->end - region->ua) >> PAGE_SHIFT;
}

static unsigned long region_chunks(const struct mm_iommu_region *region)
{
	unsigned int shift = region->chunk_shift;

	return ((region->end - 1) >> shift) - (region->ua >> shift) + 1;
}

static unsigned long region_blocks(const struct mm_iommu_region *region)
{
	return DIV_ROUND_UP(region_chunks(region), MM_IOMMU_BLOCK_WORDS);
}

static size_t page_words_bytes(const struct mm_iommu_region *region)
{
	return sizeof(u64) << (region->chunk_shift - PAGE_SHIFT);
}

static struct mm_iommu_region *
region_alloc(struct mm_iommu_store *store, unsigned long ua, unsigned long size)
{
	struct mm_iommu_region *region = kzalloc_obj(*region, MM_IOMMU_GFP);

	if (!region)
		return NULL;
	INIT_LIST_HEAD(&region->link);
	region->store = store;
	region->ua = ua;
	region->end = ua + size;
	region->chunk_shift = PMD_SHIFT;
	region->metadata = sizeof(*region);
	region->used = 1;
	region->claimed = true;
	return region;
}

/* The word of @chunk, which is in the last block or in the one to be allocated next. */
static u64 *region_word_alloc(struct mm_iommu_region *region, unsigned long chunk)
{
	u64 **block = &region->block[chunk >> MM_IOMMU_BLOCK_SHIFT];
	unsigned long words;

	if (!*block) {
		words = min(region_chunks(region) - chunk, MM_IOMMU_BLOCK_WORDS);
		*block = kcalloc(words, sizeof(**block), MM_IOMMU_GFP);
		if (!*block)
			return NULL;
		region->metadata += words * sizeof(**block);
	}
	return mm_iommu_chunk_word(region, chunk);
}

/* Unpin @n pages. Overwrites their words from @w on. */
static void page_words_unpin(u64 *w, unsigned long n)
{
	struct page **pages = (struct page **)w;
	unsigned long i, run;
	u64 dirty;

	BUILD_BUG_ON(sizeof(*pages) != sizeof(*w));
	for (i = 0; i < n; i += run) {
		dirty = w[i] & MM_IOMMU_DIRTY;
		/* Each word becomes the pointer to its page, in place. */
		for (run = 0; i + run < n && (w[i + run] & MM_IOMMU_DIRTY) == dirty; run++)
			pages[i + run] = pfn_to_page((w[i + run] & MM_IOMMU_HPA_MASK) >>
						     PAGE_SHIFT);
		unpin_user_pages_dirty_lock(pages + i, run, dirty);
	}
}

/* Unpin @pages pages from @ua on, which are all pages of the chunk with word @v. */
static void chunk_unpin(struct mm_iommu_region *region, u64 v, unsigned long ua,
			unsigned long pages)
{
	unsigned long off = ua & (BIT(region->chunk_shift) - 1), pfn;

	if (v & MM_IOMMU_CONTIG) {
		pfn = ((v & MM_IOMMU_HPA_MASK) + off) >> PAGE_SHIFT;
		unpin_user_page_range_dirty_lock(pfn_to_page(pfn), pages,
						 v & MM_IOMMU_DIRTY);
	} else {
		page_words_unpin((u64 *)v + (off >> PAGE_SHIFT), pages);
		kfree((u64 *)v);
	}
}

/* Unpin a region, as far as it was pinned, and free its words. No reader uses them. */
static void region_unpin(struct mm_iommu_region *region)
{
	unsigned long ua = region->ua, end, chunk, i;
	u64 v;

	WARN_ON_ONCE(atomic64_read(&region->mapped));
	/* Device memory, or pinning has not begun */
	if (!region->block)
		return;
	for (chunk = 0; ua < region->end; chunk++, ua = end) {
		end = min((ua | (BIT(region->chunk_shift) - 1)) + 1, region->end);
		/* Pinning recorded the chunks in this order and may have failed half way. */
		if (!region->block[chunk >> MM_IOMMU_BLOCK_SHIFT])
			break;
		v = *mm_iommu_chunk_word(region, chunk);
		if (!v)
			break;
		chunk_unpin(region, v, ua, (end - ua) >> PAGE_SHIFT);
		cond_resched();
	}
	for (i = 0; i < region_blocks(region) && region->block[i]; i++)
		kfree(region->block[i]);
	kfree(region->block);
}

/* ---- pinning ---- */

/* Page words of a chunk that is not contiguous: @n pages, @off bytes into it. NULL: no memory. */
static u64 *page_words_build(struct mm_iommu_region *region, unsigned long off,
			     struct page **pages, unsigned long n)
{
	u64 *words = kzalloc(page_words_bytes(region), MM_IOMMU_GFP);
	unsigned long run = 0, next = 0, pfn, i;

	if (!words)
		return NULL;
	region->metadata += page_words_bytes(region);
	for (i = n; i--; next = pfn) {
		pfn = page_to_pfn(pages[i]);
		run = pfn + 1 == next ? min(run + 1, MM_IOMMU_RUN_MAX) : 0;
		words[(off >> PAGE_SHIFT) + i] = ((u64)pfn << PAGE_SHIFT) |
						 run << MM_IOMMU_RUN_SHIFT | MM_IOMMU_CONTIG;
	}
	return words;
}

/*
 * Record one chunk: @n pinned pages from @ua on. On failure nothing is recorded,
 * and the caller has to unpin the pages.
 */
static int chunk_record(struct mm_iommu_region *region, unsigned long ua,
			struct page **pages, unsigned long n)
{
	unsigned long chunk = (ua >> region->chunk_shift) -
			      (region->ua >> region->chunk_shift);
	unsigned long off = ua & (BIT(region->chunk_shift) - 1);
	unsigned long pfn = page_to_pfn(pages[0]), i;
	u64 *word = region_word_alloc(region, chunk), *words;

	if (!word)
		return -ENOMEM;
	/*
	 * Comparing pointers suffices within a memory section. Comparing the last pfn covers
	 * the one section boundary that a chunk can cross.
	 */
	for (i = 1; i < n; i++)
		if (pages[i] != pages[0] + i)
			break;
	if (i == n && page_to_pfn(pages[n - 1]) == pfn + n - 1) {
		*word = (PFN_PHYS(pfn) - off) | MM_IOMMU_CONTIG;
		region->contig++;
		return 0;
	}
	words = page_words_build(region, off, pages, n);
	if (!words)
		return -ENOMEM;
	*word = (u64)words;
	return 0;
}

/* Pin @n pages from @ua on, all or none. */
static int batch_pin(unsigned long ua, unsigned long n, struct page **pages)
{
	unsigned long got;
	long ret;

	for (got = 0; got < n; got += ret) {
		ret = pin_user_pages_fast(ua + (got << PAGE_SHIFT), n - got,
					  FOLL_WRITE | FOLL_LONGTERM, pages + got);
		if (ret <= 0) {
			unpin_user_pages(pages, got);
			return ret ?: -EFAULT;
		}
	}
	return 0;
}

/* Record @n pinned pages from @ua on. On failure unpin those that were not recorded. */
static int batch_record(struct mm_iommu_region *region, unsigned long ua,
			unsigned long n, struct page **pages)
{
	unsigned long chunk = BIT(region->chunk_shift), at, done, k;
	int ret;

	for (done = 0; done < n; done += k) {
		at = ua + (done << PAGE_SHIFT);
		k = min(n - done, (chunk - (at & (chunk - 1))) >> PAGE_SHIFT);
		ret = chunk_record(region, at, pages + done, k);
		if (ret) {
			unpin_user_pages(pages + done, n - done);
			return ret;
		}
	}
	return 0;
}

/* Store in each contiguous chunk's word how many chunks follow it contiguously. */
static void region_link_runs(struct mm_iommu_region *region)
{
	unsigned long chunk = region_chunks(region), run = 0;
	u64 next = 0, v;

	while (chunk--) {
		if (!(chunk & (MM_IOMMU_BLOCK_WORDS - 1)))
			cond_resched();
		v = *mm_iommu_chunk_word(region, chunk);
		if (!(v & MM_IOMMU_CONTIG)) {
			next = 0;
			continue;
		}
		v &= MM_IOMMU_HPA_MASK;
		run = next && v + BIT(region->chunk_shift) == next ?
			min(run + 1, MM_IOMMU_RUN_MAX) : 0;
		*mm_iommu_chunk_word(region, chunk) |= run << MM_IOMMU_RUN_SHIFT;
		next = v;
	}
}

/*
 * Pin all of @region and record it, a batch at a time, so that a failure costs no words for
 * the rest. On failure region_unpin() undoes what was recorded.
 */
static int region_pin(struct mm_iommu_region *region)
{
	unsigned long ua = region->ua, span = MM_IOMMU_BATCH << PAGE_SHIFT, n, end;
	struct page **pages;
	int ret = 0;

	BUILD_BUG_ON(!is_power_of_2(MM_IOMMU_BATCH));
	region->block = kcalloc(region_blocks(region), sizeof(*region->block), MM_IOMMU_GFP);
	if (!region->block)
		return -ENOMEM;
	region->metadata += region_blocks(region) * sizeof(*region->block);
	pages = kvmalloc_array(MM_IOMMU_BATCH, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	for (; ua < region->end && !ret; ua = end) {
		/* A batch ends at a chunk's end: no chunk is split. */
		end = min((ua | (span - 1)) + 1, region->end);
		n = (end - ua) >> PAGE_SHIFT;
		ret = batch_pin(ua, n, pages) ?: batch_record(region, ua, n, pages);
		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kvfree(pages);
	if (!ret)
		region_link_runs(region);
	return ret;
}

/* ---- registration ---- */

/* Has the registration of [ua, ua + size) succeeded or failed? */
static bool claim_decided(struct mm_iommu_store *store, unsigned long ua,
			  unsigned long size)
{
	struct mm_iommu_region *region;
	bool decided;

	spin_lock(&store->lock);
	region = mm_iommu_find_range(store, ua, ua + size);
	decided = !region || !region->claimed;
	spin_unlock(&store->lock);
	return decided;
}

/*
 * Claim the range of @region. On success *@pregion is @region, or the live region with exactly
 * this range and one more use. -EAGAIN: another thread is registering this range.
 */
static int region_try_claim(struct mm_iommu_store *store, struct mm_iommu_region *region,
			    struct mm_iommu_region **pregion)
{
	struct mm_iommu_region *have;

	guard(spinlock)(&store->lock);
	have = mm_iommu_find_range(store, region->ua, region->end);
	if (!have) {
		latch_tree_insert(&region->node, &store->regions, &mm_iommu_region_ops);
		*pregion = region;
		return 0;
	}
	/* User space may have mapped other pages there since, in another layout. */
	if (have->stale && !have->orphan)
		return -ESTALE;
	if (have->ua != region->ua || have->end != region->end ||
	    have->dev != region->dev || have->dev_hpa != region->dev_hpa)
		return -EINVAL;
	if (have->claimed)
		return -EAGAIN;
	if (have->orphan)
		return -EBUSY;
	have->used++;
	*pregion = have;
	return 0;
}

static int region_claim(struct mm_iommu_store *store, struct mm_iommu_region *region,
			struct mm_iommu_region **pregion)
{
	unsigned long size = region->end - region->ua;
	int ret;

	for (;;) {
		ret = region_try_claim(store, region, pregion);
		if (ret != -EAGAIN)
			return ret;
		/* Another thread is registering the same range: wait for its result. */
		if (wait_event_killable(store->wait,
					claim_decided(store, region->ua, size)))
			return -EINTR;
	}
}

/*
 * May a registration start? Only while the pages that are pinned but no longer charged are no
 * more than the caller may lock, so that it never has more than twice its limit pinned.
 */
static bool uncharged_few(struct mm_iommu_store *store)
{
	unsigned long max = MM_IOMMU_UNCHARGED_MAX;

	if (!capable(CAP_IPC_LOCK))
		max = min(max, rlimit(RLIMIT_MEMLOCK));
	return READ_ONCE(store->unpinning) <= max >> PAGE_SHIFT;
}

/* Charge and pin a claimed region. On failure the caller calls region_unclaim(). */
static int region_fill(struct mm_iommu_store *store, struct mm_iommu_region *region)
{
	unsigned long pages = region_pages(region);
	int ret;

	if (wait_event_killable(store->wait, uncharged_few(store)))
		return -EINTR;
	ret = mm_iommu_charge(store->mm, pages);
	if (ret)
		return ret;
	region->charged = pages;
	return region_pin(region);
}

static void region_unclaim(struct mm_iommu_store *store, struct mm_iommu_region *region)
{
	spin_lock(&store->lock);
	latch_tree_erase(&region->node, &store->regions, &mm_iommu_region_ops);
	region->claimed = false;
	spin_unlock(&store->lock);
	wake_up_all(&store->wait);

	/* Readers may still read the region, but not its words: @mapped is 0. */
	region_unpin(region);
	mm_iommu_uncharge(store->mm, region->charged);
	kfree_rcu(region, rcu);
}

static void region_publish(struct mm_iommu_store *store, struct mm_iommu_region *region)
{
	struct mm_iommu_region *largest;

	spin_lock(&store->lock);
	region->claimed = false;
	/* region-words: pairs with atomic64_read_acquire() in the look-ups */
	atomic64_set_release(&region->mapped, 1);
	largest = store->largest;
	if (!largest || region->end - region->ua > largest->end - largest->ua)
		/* index-node: a reader that follows the pointer sees @ua and @end. */
		smp_store_release(&store->largest, region);
	spin_unlock(&store->lock);
	wake_up_all(&store->wait);
}

static int range_check(struct mm_struct *mm, unsigned long ua, unsigned long size)
{
	if (!size || ((ua | size) & ~PAGE_MASK) || ua + size < ua)
		return -EINVAL;
	/* Pages are pinned through the caller's own page tables. */
	if (mm != current->mm)
		return -EPERM;
	/* access_ok() may accept a range that crosses the end of user space. */
	if (size > mm->task_size || ua > mm->task_size - size)
		return -EFAULT;
	return 0;
}

/* mm_iommu_register(), or mm_iommu_register_dev() if @dev */
static int range_register(struct mm_struct *mm, unsigned long ua, unsigned long size, bool dev,
			  unsigned long hpa, struct mm_iommu_region **pregion)
{
	struct mm_iommu_region *region;
	struct mm_iommu_store *store;
	int ret;

	might_sleep();
	ret = range_check(mm, ua, size);
	if (ret)
		return ret;
	store = store_get(mm);
	region = store ? region_alloc(store, ua, size) : NULL;
	if (!region)
		return -ENOMEM;
	region->dev = dev;
	region->dev_hpa = hpa;

	ret = region_claim(store, region, pregion);
	if (ret || *pregion != region) {
		kfree(region);
		return ret;
	}
	ret = dev ? 0 : region_fill(store, region);
	if (ret)
		region_unclaim(store, region);
	else
		region_publish(store, region);
	return ret;
}

/**
 * mm_iommu_register() - pin a range of user memory for DMA
 * @mm: the caller's own mm (current->mm)
 * @ua: user address, page aligned
 * @size: bytes, a multiple of the page size, not 0
 * @pregion: the region on success
 *
 * Registering the same range again counts one more use and pins nothing. If another thread is
 * registering the range, this call waits for its result. It also waits while many pages of
 * the same mm are being unpinned.
 *
 * Context: may sleep, takes mmap_lock inside, killable.
 * Return: 0; -EINVAL for a misaligned, empty or wrapping range or an overlap with
 * another region; -EBUSY if an abandoned region is still mapped there; -ESTALE if it overlaps
 * one that all have unregistered, the last of them in vain (see mm_iommu_unregister());
 * -EFAULT for a hole, read-only memory or addresses beyond user space; -ENOMEM at
 * RLIMIT_MEMLOCK or out of memory; -EPERM for another's mm; -EINTR on a fatal signal. After
 * an error nothing is pinned or charged.
 */
int mm_iommu_register(struct mm_struct *mm, unsigned long ua,
		      unsigned long size, struct mm_iommu_region **pregion)
{
	return range_register(mm, ua, size, false, 0, pregion);
}
EXPORT_SYMBOL_GPL(mm_iommu_register);

/**
 * mm_iommu_register_dev() - register device memory, which has no struct pages
 * @mm: the caller's own mm
 * @ua: user address at which the device memory is mapped, page aligned
 * @size: bytes, a multiple of the page size
 * @hpa: host physical address of the first byte, page aligned
 * @pregion: the region on success
 *
 * Nothing is pinned or charged: the caller keeps the device memory there.
 *
 * Context: may sleep.
 * Return: see mm_iommu_register().
 */
int mm_iommu_register_dev(struct mm_struct *mm, unsigned long ua,
			  unsigned long size, unsigned long hpa,
			  struct mm_iommu_region **pregion)
{
	if ((hpa & ~PAGE_MASK) || hpa + size < hpa)
		return -EINVAL;
	return range_register(mm, ua, size, true, hpa, pregion);
}
EXPORT_SYMBOL_GPL(mm_iommu_register_dev);

/* ---- the end of a region ---- */

/* @region is not to be found by this any more. Readers in a RCU read side may have it. */
static void largest_forget(struct mm_iommu_store *store, struct mm_iommu_region *region)
{
	lockdep_assert_held(&store->lock);
	if (store->largest == region)
		WRITE_ONCE(store->largest, NULL);
}

/* Pass a dead region (@mapped is 0) to the worker. The caller calls store_queue_work() next. */
static void region_bury(struct mm_iommu_store *store, struct mm_iommu_region *region)
{
	lockdep_assert_held(&store->lock);
	WARN_ON_ONCE(atomic64_read(&region->mapped) || region->claimed);
	largest_forget(store, region);
	latch_tree_erase(&region->node, &store->regions, &mm_iommu_region_ops);
	list_move_tail(&region->link, &store->dead);
	WRITE_ONCE(store->unpinning, store->unpinning + region_pages(region));
	store->gp = get_state_synchronize_rcu();
}

/* End an orphan unless TCEs still lead into it. */
static bool orphan_try_bury(struct mm_iommu_store *store, struct mm_iommu_region *region)
{
	lockdep_assert_held(&store->lock);
	if (atomic64_cmpxchg(&region->mapped, 1, 0) != 1)
		return false;
	region_bury(store, region);
	return true;
}

/* A grace period has passed since the region left the index: no reader uses it. */
static void region_free(struct mm_iommu_store *store, struct mm_iommu_region *region)
{
	region_unpin(region);
	/* Only orphans are still charged: their last reference is dropped in atomic context. */
	mm_iommu_uncharge(store->mm, region->charged);
	spin_lock(&store->lock);
	WRITE_ONCE(store->unpinning, store->unpinning - region_pages(region));
	spin_unlock(&store->lock);
	wake_up_all(&store->wait);
	if (region->orphan)
		mmdrop(store->mm);
	kfree(region);
}

/*
 * One work per store: no process waits while terabytes of another one are unpinned, and
 * one grace period serves all regions that died before it.
 */
static void store_work(struct work_struct *work)
{
	struct mm_iommu_store *store = container_of(work, struct mm_iommu_store, work);
	struct mm_iommu_region *region, *next;
	bool again = false;
	LIST_HEAD(abandoned);
	LIST_HEAD(dead);
	unsigned long gp;

	spin_lock(&store->lock);
	list_splice_init(&store->dead, &dead);
	list_splice_init(&store->abandoned, &abandoned);
	gp = store->gp;
	spin_unlock(&store->lock);

	/* reclaim-walker */
	cond_synchronize_rcu(gp);
	list_for_each_entry_safe(region, next, &dead, link)
		region_free(store, region);

	/* From here on the caller that drops the last reference sees @orphan. */
	spin_lock(&store->lock);
	while ((region = list_first_entry_or_null(&abandoned, struct mm_iommu_region, link))) {
		list_del_init(&region->link);
		again |= orphan_try_bury(store, region);
		cond_resched_lock(&store->lock);
	}
	spin_unlock(&store->lock);
	if (again)
		store_queue_work(store);
	mmdrop(store->mm);
}

/*
 * Drop a registration. The last one ends the region and uncharges it. -EBUSY: TCEs lead
 * into it, or @to_be_last is set and there are other registrations.
 */
static int registration_drop(struct mm_struct *mm, struct mm_iommu_region *region,
			     bool to_be_last)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	unsigned long charged;

	might_sleep();
	spin_lock(&store->lock);
	WARN_ON_ONCE(!region->used || region->claimed);
	if (region->used > 1 && !to_be_last) {
		region->used--;
		spin_unlock(&store->lock);
		return 0;
	}
	if (region->used > 1 || atomic64_cmpxchg(&region->mapped, 1, 0) != 1) {
		region->stale |= !to_be_last;
		spin_unlock(&store->lock);
		return -EBUSY;
	}
	region->used = 0;
	charged = region->charged;
	region->charged = 0;
	region_bury(store, region);
	spin_unlock(&store->lock);

	store_queue_work(store);
	mm_iommu_uncharge(mm, charged);
	return 0;
}

/**
 * mm_iommu_unregister() - drop one registration
 * @mm: the mm it was registered in
 * @region: the region, of which the caller owns one registration
 *
 * The last one removes the region from the index, so no TCE can be set to lead into it.
 * locked_vm is uncharged, see mm_iommu_uncharge(). A worker unpins the pages after an RCU grace
 * period.
 *
 * Context: may sleep, takes mmap_lock.
 * Return: 0; -EBUSY if this is the last registration and TCEs still lead into the
 * region: then the caller still owns it. It stays usable, but is not registered again, by
 * anybody (-ESTALE), before the caller has unregistered it.
 */
int mm_iommu_unregister(struct mm_struct *mm, struct mm_iommu_region *region)
{
	return registration_drop(mm, region, false);
}
EXPORT_SYMBOL_GPL(mm_iommu_unregister);

/**
 * mm_iommu_unregister_last() - drop a registration if there is no other
 * @mm: the mm it was registered in
 * @region: the region, of which the caller owns one registration
 *
 * For a caller that wants the range of a stale region pinned anew: a registration of the same
 * range that follows pins the pages that are mapped there then.
 *
 * Context: may sleep, takes mmap_lock.
 * Return: 0; -EBUSY if TCEs or another registration keep the region: then nothing has
 * changed and the caller still owns it.
 */
int mm_iommu_unregister_last(struct mm_struct *mm, struct mm_iommu_region *region)
{
	return registration_drop(mm, region, true);
}
EXPORT_SYMBOL_GPL(mm_iommu_unregister_last);

/**
 * mm_iommu_abandon() - drop one registration, whatever maps the region
 * @mm: the mm it was registered in
 * @region: the region, of which the caller owns one registration
 *
 * As mm_iommu_unregister(), but never refused. If this is the last registration and TCEs
 * of others still lead into the region, it becomes an orphan, which can be mapped but not be
 * registered. Dropping the last of these references ends the region; the caller has nothing
 * more to do.
 *
 * mm_iommu_put() checks @orphan after the drop, and no barrier orders the two. Instead the
 * worker tries to end the orphan a grace period after it was marked. It sees every drop
 * of RCU read sides that began before the mark; those that began later see the mark. With
 * the MMU off orphans are not found, so the last drop happens in virtual mode.
 *
 * Context: may sleep, takes mmap_lock.
 */
void mm_iommu_abandon(struct mm_struct *mm, struct mm_iommu_region *region)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);

	/* Repeat: other containers may register and unregister the range concurrently. */
	while (registration_drop(mm, region, false)) {
		spin_lock(&store->lock);
		if (region->used == 1) {
			region->used = 0;
			largest_forget(store, region);
			WRITE_ONCE(region->orphan, true);
			mmgrab(mm);
			list_move_tail(&region->link, &store->abandoned);
			store->gp = get_state_synchronize_rcu();
			spin_unlock(&store->lock);
			store_queue_work(store);
			return;
		}
		spin_unlock(&store->lock);
	}
}
EXPORT_SYMBOL_GPL(mm_iommu_abandon);

/**
 * mm_iommu_orphan_put() - end an orphan unless TCEs still lead into it
 * @region: the orphan
 *
 * For mm_iommu_put() only.
 *
 * Context: RCU read side in virtual mode, may be atomic.
 */
void mm_iommu_orphan_put(struct mm_iommu_region *region)
{
	struct mm_iommu_store *store = region->store;
	bool buried;

	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "a reference dropped outside of RCU");
	spin_lock(&store->lock);
	buried = orphan_try_bury(store, region);
	spin_unlock(&store->lock);
	if (buried)
		store_queue_work(store);
}

/* ---- debugfs: powerpc/mm_iommu ---- */

/* The store after @prev, or the first, with a reference of its mm. Drops that of @prev's. */
static struct mm_iommu_store *store_next(struct mm_iommu_store *prev)
{
	struct mm_iommu_store *store;

	spin_lock(&store_list_lock);
	store = list_prepare_entry(prev, &store_list, next);
	list_for_each_entry_continue(store, &store_list, next)
		/* Without references, mm_iommu_exit() waits for the lock. */
		if (atomic_inc_not_zero(&store->mm->mm_count))
			break;
	if (list_entry_is_head(store, &store_list, next))
		store = NULL;
	spin_unlock(&store_list_lock);
	if (prev)
		mmdrop(prev->mm);
	return store;
}

/*
 * Show the region of @store with the lowest address that ends above @ua. Regions may come and
 * go: no lock is held while one is shown, and its successor is found by address. Returns its
 * end; 0: there is none.
 */
static unsigned long region_show(struct seq_file *m, struct mm_iommu_store *store,
				 unsigned long ua)
{
	struct mm_iommu_region *region;
	long mapped;

	guard(rcu)();
	scoped_guard(spinlock, &store->lock)
		region = index_first_above(store, ua);
	if (!region)
		return 0;
	/* region-words: the registering thread writes the counts until @mapped is set. */
	mapped = atomic64_read_acquire(&region->mapped);
	seq_printf(m, "%d ", store->pid);
	seq_escape(m, store->comm, " \t\n\\");
	seq_printf(m, " 0x%lx 0x%lx %lu %lu %lu %ld %lu%s\n",
		   region->ua, region->end - region->ua,
		   (region->end - region->ua) >> PAGE_SHIFT,
		   mapped ? region->contig : 0, READ_ONCE(region->used), mapped,
		   mapped ? region->metadata : 0,
		   !mapped ? " claimed" : region->dev ? " device" :
		   READ_ONCE(region->orphan) ? " orphan" : "");
	return region->end;
}

static int regions_show(struct seq_file *m, void *unused)
{
	struct mm_iommu_store *store = NULL;
	unsigned long ua;

	seq_puts(m, "pid comm ua size pages contiguous_chunks used mapped metadata_bytes\n");
	while ((store = store_next(store))) {
		ua = 0;
		/* After an overflow all is shown again, in a larger buffer. */
		do {
			ua = region_show(m, store, ua);
			cond_resched();
		} while (ua && !seq_has_overflowed(m));
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(regions);

static int __init mm_iommu_setup(void)
{
	/* Unpinning frees memory, so it must not wait for memory to create a thread. */
	unpin_wq = alloc_workqueue("mm_iommu", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!unpin_wq)
		return -ENOMEM;
	debugfs_create_file("mm_iommu", 0400, arch_debugfs_dir, NULL, &regions_fops);
	return 0;
}
subsys_initcall(mm_iommu_setup);
