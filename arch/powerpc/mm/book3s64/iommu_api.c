// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pre-registered DMA memory: the regions of a mm and their life.
 *
 * Invariant: while a TCE lets a device reach a page of a region, the TCE holds
 * one @mapped reference, and a region with references is pinned, translated and
 * in the index. Teardown is the reverse of set-up:
 *
 *   register    claim the range -> charge locked_vm -> pin in batches, build the
 *               words -> publish by setting @mapped to 1
 *   unregister  @mapped 1 -> 0 -> out of the index -> RCU grace period ->
 *               unpin, free, uncharge (workqueue: preemptible, no lock held)
 *
 * A claim is in the index, so an overlap fails before a page is touched, but has
 * @mapped 0, so nobody finds it. Failing anywhere undoes it in reverse order.
 *
 * Locks: store->lock for the regions of a mm, store_list_lock where its store comes
 * and goes. They never nest, and none of ours is taken under them. mmap_lock is only
 * taken by account_locked_vm() and inside gup, never under ours.
 *
 * The layout of index and metadata is described in mm_iommu_core.h.
 */
#define pr_fmt(fmt) "mm_iommu: " fmt

#include <linux/debugfs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <asm/mm_iommu.h>
#include <asm/pgtable.h>
#include "mm_iommu_core.h"

/* Pages pinned at a time: a multiple of every chunk, irqs are off meanwhile. */
#define MM_IOMMU_BATCH		1024UL

static LIST_HEAD(store_list);
static DEFINE_SPINLOCK(store_list_lock);

/* Room in the index for one more region, allocated before store->lock is taken. */
struct index_room {
	struct mm_iommu_leaf *leaf[2];
	struct mm_iommu_top *top;
};

static struct mm_iommu_top *store_top(struct mm_iommu_store *store)
{
	return rcu_dereference_protected(store->top,
					 lockdep_is_held(&store->lock));
}

static unsigned int leaf_of(struct mm_iommu_top *top, unsigned long ua)
{
#define TOP_UA(i)	(top->e[i].ua)
	return mm_iommu_last_le(top->nr, ua, TOP_UA);
#undef TOP_UA
}

/* Position at which a region starting at @ua stands, or would be inserted. */
static unsigned int slot_of(struct mm_iommu_leaf *leaf, unsigned long ua)
{
	unsigned int i = 0;

	while (i < leaf->nr && leaf->ua[i] < ua)
		i++;
	return i;
}

/* Any region of @store that overlaps [ua, end)? */
static struct mm_iommu_region *
index_overlap(struct mm_iommu_store *store, unsigned long ua, unsigned long end)
{
	struct mm_iommu_region *mem;
	struct mm_iommu_top *top = store_top(store);
	struct mm_iommu_leaf *leaf;
	unsigned int i, slot;

	if (!top || !top->nr)
		return NULL;
	i = leaf_of(top, ua);
	leaf = top->e[i].leaf;
	slot = slot_of(leaf, ua);
	/* The one before: in this leaf, as leaf_of() took the last at or below. */
	if (slot) {
		mem = leaf->mem[slot - 1];
		if (mem->end > ua)
			return mem;
	}
	if (slot < leaf->nr)
		mem = leaf->mem[slot];
	else if (i + 1 < top->nr)
		mem = top->e[i + 1].leaf->mem[0];
	else
		return NULL;
	return mem->ua < end ? mem : NULL;
}

static void leaf_set(struct mm_iommu_leaf *leaf, unsigned int i,
		     struct mm_iommu_region *mem)
{
	WRITE_ONCE(leaf->ua[i], mem ? mem->ua : ULONG_MAX);
	/* A reader that sees the pointer sees the region behind it. */
	smp_store_release(&leaf->mem[i], mem);
}

static void leaf_insert(struct mm_iommu_leaf *leaf,
			struct mm_iommu_region *mem)
{
	unsigned int i, slot = slot_of(leaf, mem->ua);

	for (i = leaf->nr; i > slot; i--)
		leaf_set(leaf, i, leaf->mem[i - 1]);
	leaf_set(leaf, slot, mem);
	WRITE_ONCE(leaf->nr, leaf->nr + 1);
}

static void top_set(struct mm_iommu_top *top, unsigned int i, unsigned long ua,
		    struct mm_iommu_leaf *leaf)
{
	WRITE_ONCE(top->e[i].ua, ua);
	/* A reader that sees the pointer sees the leaf's words. */
	smp_store_release(&top->e[i].leaf, leaf);
}

static void top_insert(struct mm_iommu_top *top, unsigned int at,
		       struct mm_iommu_leaf *leaf)
{
	unsigned int i;

	for (i = top->nr; i > at; i--)
		top_set(top, i, top->e[i - 1].ua, top->e[i - 1].leaf);
	top_set(top, at, leaf->ua[0], leaf);
	WRITE_ONCE(top->nr, top->nr + 1);
}

/*
 * Allocate what inserting one region may need. Sizes are judged without the lock
 * and checked again under it.
 */
static int index_prepare(struct mm_iommu_store *store, struct index_room *room)
{
	struct mm_iommu_top *top;
	unsigned int cap = 0, nr = 0, i;

	rcu_read_lock();
	top = rcu_dereference(store->top);
	if (top) {
		cap = top->cap;
		nr = READ_ONCE(top->nr);
	}
	rcu_read_unlock();

	for (i = 0; i < ARRAY_SIZE(room->leaf); i++) {
		if (!room->leaf[i])
			room->leaf[i] = kzalloc(sizeof(*room->leaf[i]),
						GFP_KERNEL_ACCOUNT);
		if (!room->leaf[i])
			return -ENOMEM;
	}
	if (nr < cap || (room->top && room->top->cap > nr))
		return 0;
	kfree(room->top);
	cap = max(8U, cap * 2);
	room->top = kzalloc(struct_size(room->top, e, cap),
			    GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!room->top)
		return -ENOMEM;
	room->top->cap = cap;
	return 0;
}

static void index_unprepare(struct index_room *room)
{
	kfree(room->leaf[0]);
	kfree(room->leaf[1]);
	kfree(room->top);
}

/* Insert @mem; -EAGAIN when @room turned out too small. Overlaps are excluded. */
static int index_insert(struct mm_iommu_store *store,
			struct mm_iommu_region *mem,
			struct index_room *room)
{
	struct mm_iommu_top *top = store_top(store), *old = top;
	struct mm_iommu_leaf *leaf, *low, *high;
	unsigned int i, j;

	lockdep_assert_held(&store->lock);

	if (!top || top->nr + 1 > top->cap) {
		if (!room->top || (top && room->top->cap <= top->nr))
			return -EAGAIN;
		top = room->top;
		room->top = NULL;
		if (old) {
			top->nr = old->nr;
			memcpy(top->e, old->e, old->nr * sizeof(old->e[0]));
		}
		rcu_assign_pointer(store->top, top);
		if (old)
			kfree_rcu(old, rcu);
	}

	write_seqcount_begin(&store->seq);
	if (!top->nr) {
		leaf = room->leaf[0];
		room->leaf[0] = NULL;
		leaf_insert(leaf, mem);
		top_insert(top, 0, leaf);
		goto out;
	}

	i = leaf_of(top, mem->ua);
	leaf = top->e[i].leaf;
	if (leaf->nr < MM_IOMMU_LEAF) {
		leaf_insert(leaf, mem);
		goto out;
	}

	/* Split into two new leaves: a reader in the old one still sees it whole. */
	low = room->leaf[0];
	high = room->leaf[1];
	room->leaf[0] = NULL;
	room->leaf[1] = NULL;
	/* Ascending registration is the usual order: leave full leaves behind. */
	j = mem->ua > leaf->ua[leaf->nr - 1] ? leaf->nr - 1 : leaf->nr / 2;
	for (; low->nr < j; low->nr++)
		leaf_set(low, low->nr, leaf->mem[low->nr]);
	for (; high->nr < leaf->nr - j; high->nr++)
		leaf_set(high, high->nr, leaf->mem[j + high->nr]);
	leaf_insert(mem->ua < high->ua[0] ? low : high, mem);
	top_insert(top, i + 1, high);
	top_set(top, i, top->e[i].ua, low);
	kfree_rcu(leaf, rcu);
out:
	write_seqcount_end(&store->seq);
	return 0;
}

/* Take @mem out of the index. Needs no memory, so it can't fail. */
static void index_remove(struct mm_iommu_store *store,
			 struct mm_iommu_region *mem)
{
	struct mm_iommu_top *top = store_top(store);
	unsigned int i = leaf_of(top, mem->ua), slot;
	struct mm_iommu_leaf *leaf = top->e[i].leaf;

	lockdep_assert_held(&store->lock);

	slot = slot_of(leaf, mem->ua);
	if (WARN_ON_ONCE(slot >= leaf->nr || leaf->mem[slot] != mem))
		return;

	if (store->main == mem)
		WRITE_ONCE(store->main, NULL);

	write_seqcount_begin(&store->seq);
	WRITE_ONCE(leaf->nr, leaf->nr - 1);
	for (; slot < leaf->nr; slot++)
		leaf_set(leaf, slot, leaf->mem[slot + 1]);
	/* A late reader must not find a freed region in an unused slot. */
	leaf_set(leaf, slot, NULL);

	if (leaf->nr) {
		/*
		 * A later region may start below the one that is gone and reach
		 * beyond its start: it goes into the leaf before, and must be
		 * looked for there.
		 */
		WRITE_ONCE(top->e[i].ua, leaf->ua[0]);
	} else {
		WRITE_ONCE(top->nr, top->nr - 1);
		for (; i < top->nr; i++)
			top_set(top, i, top->e[i + 1].ua, top->e[i + 1].leaf);
		top_set(top, i, ULONG_MAX, NULL);
		kfree_rcu(leaf, rcu);
	}
	write_seqcount_end(&store->seq);
}

/* The store of @mm, made when the first region comes. NULL: no memory. */
static struct mm_iommu_store *store_get(struct mm_struct *mm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);

	if (store)
		return store;
	store = kzalloc(sizeof(*store), GFP_KERNEL_ACCOUNT);
	if (!store)
		return NULL;
	spin_lock_init(&store->lock);
	seqcount_spinlock_init(&store->seq, &store->lock);
	init_waitqueue_head(&store->wait);
	store->mm = mm;
	store->pid = task_tgid_nr(current);
	get_task_comm(store->comm, current);

	spin_lock(&store_list_lock);
	if (mm->context.iommu_store) {
		kfree(store);
		store = mm->context.iommu_store;
	} else {
		list_add_tail_rcu(&store->next, &store_list);
		/* Lockless readers of the pointer see the store initialised. */
		smp_store_release(&mm->context.iommu_store, store);
	}
	spin_unlock(&store_list_lock);
	return store;
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
 * mm_iommu_exit() - free the store of a mm that nobody uses any more
 * @mm: the mm, at its last mmdrop()
 *
 * Containers and the final unpin hold the mm, so no region can be left here.
 * Context: may be atomic (the scheduler drops lazy mms).
 */
void mm_iommu_exit(struct mm_struct *mm)
{
	struct mm_iommu_store *store = mm->context.iommu_store;
	struct mm_iommu_top *top;

	if (!store)
		return;
	mm->context.iommu_store = NULL;
	spin_lock(&store_list_lock);
	list_del_rcu(&store->next);
	spin_unlock(&store_list_lock);

	top = rcu_dereference_protected(store->top, true);
	WARN_ON_ONCE((top && top->nr) || atomic_read(&store->pending));
	kfree_rcu(top, rcu);
	kfree_rcu(store, rcu);
}

/* ---- metadata ---- */

static unsigned long region_chunks(struct mm_iommu_region *mem)
{
	unsigned int shift = mem->chunk_shift;

	return ((mem->end - 1) >> shift) - (mem->ua >> shift) + 1;
}

static u64 *region_word(struct mm_iommu_region *mem,
			unsigned long chunk)
{
	return &mem->block[chunk >> MM_IOMMU_BLOCK_SHIFT]
			  [chunk & (MM_IOMMU_BLOCK_WORDS - 1)];
}

static size_t leaf_bytes(struct mm_iommu_region *mem)
{
	return sizeof(u64) << (mem->chunk_shift - PAGE_SHIFT);
}

static struct mm_iommu_region *
region_alloc(struct mm_struct *mm, unsigned long ua, unsigned long size, bool dev)
{
	struct mm_iommu_region *mem;
	unsigned long chunks, blocks;

	chunks = ((ua + size - 1) >> PMD_SHIFT) - (ua >> PMD_SHIFT) + 1;
	blocks = dev ? 0 : DIV_ROUND_UP(chunks, MM_IOMMU_BLOCK_WORDS);
	mem = kzalloc(struct_size(mem, block, blocks),
		      GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!mem)
		return NULL;
	mem->mm = mm;
	mem->ua = ua;
	mem->end = ua + size;
	mem->dev = dev;
	mem->chunk_shift = PMD_SHIFT;
	mem->nr_blocks = blocks;
	mem->metadata = struct_size(mem, block, blocks);
	mem->used = 1;
	mem->claimed = true;
	return mem;
}

/* Blocks come after the claim: an overlap must not cost an allocation. */
static int region_alloc_blocks(struct mm_iommu_region *mem)
{
	unsigned long left = region_chunks(mem), i, n;

	for (i = 0; i < mem->nr_blocks; i++, left -= n) {
		n = min(left, MM_IOMMU_BLOCK_WORDS);
		mem->block[i] = kcalloc(n, sizeof(u64),
					GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!mem->block[i])
			return -ENOMEM;
		mem->metadata += n * sizeof(u64);
	}
	return 0;
}

/* Unpin @n pages from @w on, words of a leaf that is not needed any more. */
static void leaf_unpin(u64 *w, unsigned long n)
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

/* Undo everything that was pinned, chunk by chunk, and free the metadata. */
static void region_free(struct mm_iommu_region *mem)
{
	unsigned long ua = mem->ua, end, pages, chunk, i, off, pfn;
	u64 *w, v;

	for (chunk = 0; !mem->dev && ua < mem->end; chunk++, ua = end) {
		end = min((ua | (BIT(mem->chunk_shift) - 1)) + 1, mem->end);
		if (!mem->block[chunk >> MM_IOMMU_BLOCK_SHIFT])
			break;
		w = region_word(mem, chunk);
		v = *w;
		if (!v)
			break;
		pages = (end - ua) >> PAGE_SHIFT;
		off = ua & (BIT(mem->chunk_shift) - 1);
		if (v & MM_IOMMU_CONTIG) {
			pfn = ((v & MM_IOMMU_HPA_MASK) + off) >> PAGE_SHIFT;
			unpin_user_page_range_dirty_lock(pfn_to_page(pfn), pages,
							 v & MM_IOMMU_DIRTY);
		} else {
			leaf_unpin((u64 *)v + (off >> PAGE_SHIFT), pages);
			kfree((u64 *)v);
		}
		cond_resched();
	}
	for (i = 0; i < mem->nr_blocks; i++)
		kfree(mem->block[i]);
	kfree(mem);
}

/*
 * Record one chunk: @n pinned pages from @ua on. On failure nothing is recorded
 * and the pages are still the caller's.
 */
static int chunk_record(struct mm_iommu_region *mem,
			unsigned long ua, struct page **pages, unsigned long n)
{
	unsigned long chunk = (ua >> mem->chunk_shift) -
			      (mem->ua >> mem->chunk_shift);
	unsigned long off = ua & (BIT(mem->chunk_shift) - 1);
	unsigned long pfn = page_to_pfn(pages[0]), run, next, i;
	u64 *leaf;

	for (i = 1; i < n; i++)
		if (pages[i] != nth_page(pages[0], i))
			break;
	if (i == n) {
		*region_word(mem, chunk) = ((pfn << PAGE_SHIFT) - off) |
					   MM_IOMMU_CONTIG;
		mem->contig++;
		return 0;
	}

	leaf = kzalloc(leaf_bytes(mem), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!leaf)
		return -ENOMEM;
	mem->metadata += leaf_bytes(mem);
	off >>= PAGE_SHIFT;
	for (i = n, run = 0, next = 0; i--; next = pfn) {
		pfn = page_to_pfn(pages[i]);
		run = pfn + 1 == next ? min(run + 1, MM_IOMMU_RUN_MAX) : 0;
		leaf[off + i] = ((u64)pfn << PAGE_SHIFT) |
				run << MM_IOMMU_RUN_SHIFT | MM_IOMMU_CONTIG;
	}
	*region_word(mem, chunk) = (u64)leaf;
	return 0;
}

/* Tell each contiguous chunk how many follow it contiguously. */
static void region_link_runs(struct mm_iommu_region *mem)
{
	unsigned long chunk = region_chunks(mem), run = 0;
	u64 next = 0, v;

	while (chunk--) {
		v = *region_word(mem, chunk);
		if (!(v & MM_IOMMU_CONTIG)) {
			next = 0;
			continue;
		}
		v &= MM_IOMMU_HPA_MASK;
		run = next && v + BIT(mem->chunk_shift) == next ?
			min(run + 1, MM_IOMMU_RUN_MAX) : 0;
		*region_word(mem, chunk) |= run << MM_IOMMU_RUN_SHIFT;
		next = v;
	}
}

/* Pin all of @mem and record it; what was recorded is region_free()'s to undo. */
static int region_pin(struct mm_iommu_region *mem)
{
	unsigned long ua = mem->ua, span = MM_IOMMU_BATCH << PAGE_SHIFT;
	unsigned long n, done, got, end;
	struct page **pages;
	int ret = 0;
	long pinned;

	BUILD_BUG_ON(!is_power_of_2(MM_IOMMU_BATCH));
	pages = kvmalloc_array(MM_IOMMU_BATCH, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;

	while (ua < mem->end && !ret) {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		/* Batches end where chunks end, so that none is split. */
		end = min((ua | (span - 1)) + 1, mem->end);
		n = (end - ua) >> PAGE_SHIFT;
		for (got = 0; got < n; got += pinned) {
			pinned = pin_user_pages_fast(ua + (got << PAGE_SHIFT),
						     n - got,
						     FOLL_WRITE | FOLL_LONGTERM,
						     pages + got);
			if (pinned <= 0) {
				ret = pinned ?: -EFAULT;
				break;
			}
		}
		for (done = 0; !ret && done < n;) {
			unsigned long next = ua + (done << PAGE_SHIFT);
			unsigned long cnt;

			next = (next | (BIT(mem->chunk_shift) - 1)) + 1;
			next = min(next, end);
			cnt = ((next - ua) >> PAGE_SHIFT) - done;
			ret = chunk_record(mem, ua + (done << PAGE_SHIFT),
					   pages + done, cnt);
			if (!ret)
				done += cnt;
		}
		if (ret)
			unpin_user_pages(pages + done, got - done);
		ua = end;
		cond_resched();
	}
	kvfree(pages);
	if (!ret)
		region_link_runs(mem);
	return ret;
}

/* ---- registration ---- */

static struct mm_iommu_region *
region_exact(struct mm_iommu_store *store, unsigned long ua, unsigned long size,
	     bool *overlap)
{
	struct mm_iommu_region *mem;

	mem = index_overlap(store, ua, ua + size);
	*overlap = mem;
	return mem && mem->ua == ua && mem->end == ua + size ? mem : NULL;
}

/* Has the claim on [ua, ua + size) been decided? */
static bool claim_decided(struct mm_iommu_store *store, unsigned long ua,
			  unsigned long size)
{
	struct mm_iommu_region *mem;
	bool overlap, claimed;

	spin_lock(&store->lock);
	mem = region_exact(store, ua, size, &overlap);
	claimed = mem && mem->claimed;
	spin_unlock(&store->lock);
	return !claimed;
}

/*
 * Claim the range of @mem, or take one more use of the region that is just it.
 * Returns 0 with *@pmem being @mem or that region.
 */
static int region_claim(struct mm_iommu_store *store,
			struct mm_iommu_region *mem,
			struct mm_iommu_region **pmem)
{
	unsigned long size = mem->end - mem->ua;
	struct mm_iommu_region *have;
	struct index_room room = {};
	bool overlap;
	int ret;

	for (;;) {
		spin_lock(&store->lock);
		have = region_exact(store, mem->ua, size, &overlap);
		if (!overlap) {
			ret = room.leaf[0] && room.leaf[1] ?
				index_insert(store, mem, &room) : -EAGAIN;
			have = mem;
		} else if (!have || have->dev != mem->dev ||
			   have->dev_hpa != mem->dev_hpa) {
			ret = -EINVAL;
		} else if (have->claimed) {
			ret = -EBUSY;
		} else {
			have->used++;
			ret = 0;
		}
		spin_unlock(&store->lock);

		if (ret == -EAGAIN) {
			ret = index_prepare(store, &room);
		} else if (ret == -EBUSY) {
			/* Another thread registers the same: its answer counts. */
			if (wait_event_killable(store->wait,
						claim_decided(store, mem->ua, size)))
				ret = -EINTR;
			else
				ret = 0;
		} else {
			break;
		}
		if (ret)
			break;
	}
	index_unprepare(&room);
	if (!ret)
		*pmem = have;
	return ret;
}

/* Charge @pages; what is still being unpinned is on its way back, so wait for it. */
static int region_charge(struct mm_iommu_store *store, struct mm_struct *mm,
			 unsigned long pages)
{
	int ret = account_locked_vm(mm, pages, true);

	if (ret && atomic_read(&store->pending)) {
		ret = mm_iommu_drain(mm);
		if (!ret)
			ret = account_locked_vm(mm, pages, true);
	}
	return ret;
}

static int region_register(struct mm_struct *mm, unsigned long ua,
			   unsigned long size, bool dev, unsigned long dev_hpa,
			   struct mm_iommu_region **pmem)
{
	struct mm_iommu_region *mem;
	struct mm_iommu_store *store;
	unsigned long pages = size >> PAGE_SHIFT;
	int ret;

	if (!size || ((ua | size | dev_hpa) & ~PAGE_MASK) || ua + size < ua ||
	    dev_hpa + size < dev_hpa)
		return -EINVAL;
	if (!access_ok((void __user *)ua, size))
		return -EFAULT;
	/* Pages are pinned through the caller's own page tables. */
	if (mm != current->mm)
		return -EPERM;

	store = store_get(mm);
	if (!store)
		return -ENOMEM;
	mem = region_alloc(mm, ua, size, dev);
	if (!mem)
		return -ENOMEM;
	mem->dev_hpa = dev_hpa;

	ret = region_claim(store, mem, pmem);
	if (ret || *pmem != mem) {
		kfree(mem);
		return ret;
	}

	if (!dev) {
		ret = region_charge(store, mm, pages);
		if (ret)
			goto out_unclaim;
		mem->charged = pages;
		ret = region_alloc_blocks(mem) ?: region_pin(mem);
		if (ret)
			goto out_unclaim;
	}

	spin_lock(&store->lock);
	mem->claimed = false;
	/* Publish: pairs with atomic64_read_acquire() in the lookups. */
	atomic64_set_release(&mem->mapped, 1);
	if (!store->main || mem->end - mem->ua > store->main->end - store->main->ua)
		WRITE_ONCE(store->main, mem);
	spin_unlock(&store->lock);
	wake_up_all(&store->wait);
	return 0;

out_unclaim:
	spin_lock(&store->lock);
	index_remove(store, mem);
	mem->claimed = false;
	spin_unlock(&store->lock);
	wake_up_all(&store->wait);
	/* Lockless readers may be looking at it, though they can't use it. */
	synchronize_rcu_expedited();
	pages = mem->charged;
	region_free(mem);
	account_locked_vm(mm, pages, false);
	return ret;
}

/**
 * mm_iommu_register() - pin a range of user memory for DMA
 * @mm: the caller's own mm (current->mm)
 * @ua: user address, page aligned
 * @size: bytes, a multiple of the page size, not 0
 * @pmem: the region on success
 *
 * The same range registered again counts one more use and pins nothing; if
 * another thread is just registering it, its result is waited for.
 *
 * Context: may sleep, takes mmap_lock inside, killable.
 * Return: 0; -EINVAL for a misaligned, empty or wrapping range or an overlap with
 * another region; -EFAULT for a hole, read-only memory or addresses beyond user
 * space; -ENOMEM at RLIMIT_MEMLOCK or out of memory; -EPERM for another's mm;
 * -EINTR on a fatal signal. After an error nothing is pinned or charged.
 */
int mm_iommu_register(struct mm_struct *mm, unsigned long ua,
		      unsigned long size,
		      struct mm_iommu_region **pmem)
{
	return region_register(mm, ua, size, false, 0, pmem);
}
EXPORT_SYMBOL_GPL(mm_iommu_register);

/**
 * mm_iommu_register_dev() - register device memory, which has no struct pages
 * @mm: the caller's own mm
 * @ua: user address at which the device memory is mapped, page aligned
 * @size: bytes, a multiple of the page size
 * @hpa: host physical address of the first byte, page aligned
 * @pmem: the region on success
 *
 * Nothing is pinned and nothing charged: the caller keeps the device there.
 *
 * Context: may sleep. Return: as mm_iommu_register().
 */
int mm_iommu_register_dev(struct mm_struct *mm, unsigned long ua,
			  unsigned long size, unsigned long hpa,
			  struct mm_iommu_region **pmem)
{
	return region_register(mm, ua, size, true, hpa, pmem);
}
EXPORT_SYMBOL_GPL(mm_iommu_register_dev);

/* After a grace period, in process context: nobody can see the region any more. */
static void region_release_work(struct work_struct *work)
{
	struct mm_iommu_region *mem =
		container_of(to_rcu_work(work),
			     struct mm_iommu_region, rwork);
	struct mm_struct *mm = mem->mm;
	struct mm_iommu_store *store = mm_iommu_store(mm);
	unsigned long charged = mem->charged;

	region_free(mem);
	/* Uncharged last: until here the memory really was locked. */
	account_locked_vm(mm, charged, false);
	if (atomic_dec_and_test(&store->pending))
		wake_up_all(&store->wait);
	mmdrop(mm);
}

/**
 * mm_iommu_unregister() - take back one registration
 * @mm: the mm it was registered in
 * @mem: the region, of which the caller owns one registration
 *
 * With the last one the region leaves the index and no TCE can be made from it
 * any more. Its pages are unpinned and uncharged after an RCU grace period, by a
 * worker: see mm_iommu_drain().
 *
 * Context: process context; does not sleep.
 * Return: 0; -EBUSY if this is the last registration and TCEs still reach the
 * region: then nothing has changed and the caller still owns it.
 */
int mm_iommu_unregister(struct mm_struct *mm,
			struct mm_iommu_region *mem)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	bool last;

	spin_lock(&store->lock);
	last = mem->used == 1;
	if (last && atomic64_cmpxchg(&mem->mapped, 1, 0) != 1) {
		spin_unlock(&store->lock);
		return -EBUSY;
	}
	mem->used--;
	if (last) {
		index_remove(store, mem);
		/* The worker needs the mm to uncharge. */
		mmgrab(mm);
		atomic_inc(&store->pending);
	}
	spin_unlock(&store->lock);

	if (last) {
		INIT_RCU_WORK(&mem->rwork, region_release_work);
		queue_rcu_work(system_unbound_wq, &mem->rwork);
	}
	return 0;
}
EXPORT_SYMBOL_GPL(mm_iommu_unregister);

/**
 * mm_iommu_drain() - wait until all unregistered regions are really gone
 * @mm: the mm
 *
 * Context: may sleep, for an RCU grace period and the unpinning; killable.
 * Return: 0 once everything is unpinned and uncharged, -EINTR on a fatal signal.
 */
int mm_iommu_drain(struct mm_struct *mm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);

	if (!store)
		return 0;
	if (wait_event_killable(store->wait, !atomic_read(&store->pending)))
		return -EINTR;
	return 0;
}
EXPORT_SYMBOL_GPL(mm_iommu_drain);

/**
 * mm_iommu_map_get() - translate for a map, and hold what it needs
 * @mm: whose memory
 * @ua: user address, a multiple of the IOMMU page size
 * @size: bytes the caller would like to map from there
 * @shift: log2 of the IOMMU page size
 * @write: the device may write; the pages are dirtied when they are unpinned
 * @hpa: host physical address of @ua on success
 *
 * Takes one @mapped reference for each IOMMU page of the answer, which the caller
 * stores in TCEs or gives back with mm_iommu_map_put(). The answer is shorter
 * than @size where physical contiguity or the region ends: call again from there.
 *
 * Context: any in virtual mode. Return: bytes, a positive multiple of the IOMMU
 * page size; -EFAULT if nothing is registered at @ua; -EINVAL if the memory there
 * is not contiguous and aligned enough for one IOMMU page; -ENXIO if the region
 * is on its way in or out.
 */
long mm_iommu_map_get(struct mm_struct *mm, unsigned long ua,
		      unsigned long size, unsigned int shift, bool write,
		      unsigned long *hpa)
{
	guard(rcu)();
	return __mm_iommu_map_get(mm, ua, size, shift, write, hpa, false);
}
EXPORT_SYMBOL_GPL(mm_iommu_map_get);

/**
 * mm_iommu_map_get_range() - hold a range of one region, contiguous or not
 * @mm: whose memory
 * @ua: user address, a multiple of the IOMMU page size
 * @size: bytes the caller would like to map from there
 * @shift: log2 of the IOMMU page size
 * @pmem: the region on success, for mm_iommu_run_get()
 *
 * Takes one @mapped reference for each IOMMU page of the answer, all at once. The
 * answer is shorter than @size where the region ends. The references are stored in
 * TCEs or given back with mm_iommu_map_put_range().
 *
 * Context: any in virtual mode. Return: bytes, a positive multiple of the IOMMU page
 * size; -EFAULT, -EINVAL, -ENXIO: see mm_iommu_map_get().
 */
long mm_iommu_map_get_range(struct mm_struct *mm, unsigned long ua,
			    unsigned long size, unsigned int shift,
			    struct mm_iommu_region **pmem)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	struct mm_iommu_region *mem;
	unsigned long mask = BIT(shift) - 1;

	if (!store)
		return -EFAULT;
	guard(rcu)();
	mem = mm_iommu_find(store, ua, false);
	if (!mem)
		return -EFAULT;
	size = min(size, mem->end - ua) & ~mask;
	if (!size || (ua & mask))
		return -EINVAL;
	/* The words are valid only once @mapped is not 0. */
	if (!atomic64_add_unless(&mem->mapped, size >> shift, 0))
		return -ENXIO;
	*pmem = mem;
	return size;
}

/**
 * mm_iommu_run_get() - what is behind an address of a region that is held
 * @mem: the region, from mm_iommu_map_get_range()
 * @ua: an address in the range held, a multiple of the IOMMU page size
 * @size: bytes wanted from there, all held
 * @shift: log2 of the IOMMU page size
 * @write: the device may write; the pages are dirtied when they are unpinned
 * @hpa: host physical address of @ua on success
 *
 * Context: any in virtual mode.
 * Return: bytes, a positive multiple of the IOMMU page size; shorter than @size where
 * contiguity ends. -EINVAL if the memory is not contiguous and aligned enough for one
 * IOMMU page.
 */
long mm_iommu_run_get(struct mm_iommu_region *mem, unsigned long ua,
		      unsigned long size, unsigned int shift, bool write,
		      unsigned long *hpa)
{
	unsigned long mask = BIT(shift) - 1;
	struct mm_iommu_run run;

	mm_iommu_resolve(mem, ua, &run);
	size = min(size, run.len) & ~mask;
	if (!size || (run.hpa & mask))
		return -EINVAL;
	*hpa = run.hpa;
	if (write)
		mm_iommu_mark_dirty(mem, ua, size, &run);
	return size;
}

/**
 * mm_iommu_map_put() - drop references of TCEs that are gone
 * @mm: whose memory
 * @ua: an address of the region that the TCEs reached
 * @n: number of TCEs
 *
 * To be called after the TCE cache was invalidated, never before.
 *
 * Context: any in virtual mode. Return: 0; -ENOENT if there is no such region,
 * -ERANGE if it has fewer references. Both mean that the caller's books are wrong;
 * nothing was dropped then.
 */
int mm_iommu_map_put(struct mm_struct *mm, unsigned long ua, unsigned long n)
{
	guard(rcu)();
	return __mm_iommu_map_put(mm, ua, n, false);
}
EXPORT_SYMBOL_GPL(mm_iommu_map_put);

/**
 * mm_iommu_map_put_range() - drop references of contiguous TCEs that are gone
 * @mm: whose memory
 * @ua: user address that the first TCE led to
 * @n: number of TCEs; each led to the IOMMU page after the one before
 * @shift: log2 of the IOMMU page size
 *
 * As mm_iommu_map_put(), for TCEs that may have reached several regions in a row:
 * one look-up and one update for each of them.
 *
 * Context: any in virtual mode. Return: see mm_iommu_map_put(); the regions before
 * the one that failed have been dropped then.
 */
int mm_iommu_map_put_range(struct mm_struct *mm, unsigned long ua,
			   unsigned long n, unsigned int shift)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	struct mm_iommu_region *mem;
	unsigned long k;
	int ret;

	if (!store)
		return -ENOENT;
	for (; n; n -= k, ua += k << shift) {
		guard(rcu)();
		mem = mm_iommu_find(store, ua, false);
		if (!mem)
			return -ENOENT;
		k = min(n, (mem->end - ua) >> shift);
		ret = k ? mm_iommu_put(mem, k) : -ERANGE;
		if (ret)
			return ret;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(mm_iommu_map_put_range);

/**
 * mm_iommu_translate() - where a registered user address is, without holding it
 * @mm: whose memory
 * @ua: user address, any alignment
 * @hpa: host physical address on success
 *
 * Context: RCU read side; the answer is good until rcu_read_unlock().
 * Return: bytes contiguous from there, within the region; -EFAULT if nothing
 * usable is registered there.
 */
long mm_iommu_translate(struct mm_struct *mm, unsigned long ua,
			unsigned long *hpa)
{
	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "translation outside of RCU");
	return __mm_iommu_translate(mm, ua, hpa, false);
}
EXPORT_SYMBOL_GPL(mm_iommu_translate);

/**
 * mm_iommu_extent() - what is registered around a user address, without holding it
 * @mm: whose memory
 * @ua: user address, any alignment
 * @start: where the region starts, on success
 * @size: its bytes, on success
 *
 * Context: any in virtual mode. Return: true if @ua is in a region that can be mapped.
 */
bool mm_iommu_extent(struct mm_struct *mm, unsigned long ua,
		     unsigned long *start, unsigned long *size)
{
	guard(rcu)();
	return __mm_iommu_extent(mm, ua, start, size, false);
}
EXPORT_SYMBOL_GPL(mm_iommu_extent);

/* ---- debugfs: powerpc/mm_iommu ---- */

static void store_show(struct seq_file *m, struct mm_iommu_store *store)
{
	struct mm_iommu_region *mem;
	struct mm_iommu_top *top;
	unsigned int i, j;

	spin_lock(&store->lock);
	top = store_top(store);
	for (i = 0; top && i < top->nr; i++) {
		for (j = 0; j < top->e[i].leaf->nr; j++) {
			mem = top->e[i].leaf->mem[j];
			seq_printf(m, "%d ", store->pid);
			seq_escape(m, store->comm, " \t\n\\");
			seq_printf(m, " 0x%lx 0x%lx %lu %lu %lu %lld %lu%s\n",
				   mem->ua, mem->end - mem->ua,
				   (mem->end - mem->ua) >> PAGE_SHIFT,
				   mem->contig, mem->used,
				   (long long)atomic64_read(&mem->mapped),
				   mem->metadata,
				   mem->claimed ? " claimed" :
				   mem->dev ? " device" : "");
		}
	}
	spin_unlock(&store->lock);
}

static int mm_iommu_show(struct seq_file *m, void *v)
{
	struct mm_iommu_store *store;

	seq_puts(m, "pid comm ua size pages contiguous_chunks used mapped metadata_bytes\n");
	/* A store outlives its mm by a grace period, and leaves the list first. */
	rcu_read_lock();
	list_for_each_entry_rcu(store, &store_list, next)
		store_show(m, store);
	rcu_read_unlock();
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mm_iommu);

static int __init mm_iommu_debugfs_init(void)
{
	debugfs_create_file("mm_iommu", 0400, arch_debugfs_dir, NULL,
			    &mm_iommu_fops);
	return 0;
}
device_initcall(mm_iommu_debugfs_init);
