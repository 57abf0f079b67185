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
	seqcount_latch_init(&store->regions.seq);
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

	if (!store)
		return;
	mm->context.iommu_store = NULL;
	spin_lock(&store_list_lock);
	list_del_rcu(&store->next);
	spin_unlock(&store_list_lock);

	WARN_ON_ONCE(!RB_EMPTY_ROOT(&store->regions.tree[0]) ||
		     atomic_read(&store->pending));
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
		if (page_to_pfn(pages[i]) != pfn + i)
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

static void index_insert(struct mm_iommu_store *store, struct mm_iommu_region *mem)
{
	lockdep_assert_held(&store->lock);
	latch_tree_insert(&mem->node, &store->regions, &mm_iommu_region_ops);
}

static void index_remove(struct mm_iommu_store *store, struct mm_iommu_region *mem)
{
	lockdep_assert_held(&store->lock);
	latch_tree_erase(&mem->node, &store->regions, &mm_iommu_region_ops);
}

/* The region that is just [ua, ua + size), or NULL; does any overlap it? */
static struct mm_iommu_region *
region_exact(struct mm_iommu_store *store, unsigned long ua, unsigned long size,
	     bool *overlap)
{
	struct mm_iommu_region *mem;

	lockdep_assert_held(&store->lock);
	mem = mm_iommu_find_range(store, ua, ua + size);
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
	bool overlap;
	int ret;

	for (;;) {
		spin_lock(&store->lock);
		have = region_exact(store, mem->ua, size, &overlap);
		ret = 0;
		if (!overlap) {
			index_insert(store, mem);
			have = mem;
		} else if (!have || have->dev != mem->dev ||
			   have->dev_hpa != mem->dev_hpa) {
			ret = -EINVAL;
		} else if (have->claimed) {
			ret = -EBUSY;
		} else {
			have->used++;
		}
		spin_unlock(&store->lock);

		if (ret != -EBUSY)
			break;
		/* Another thread registers the same range: wait for its result. */
		if (wait_event_killable(store->wait,
					claim_decided(store, mem->ua, size)))
			return -EINTR;
	}
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
	/* Pages are pinned through the caller's own page tables. */
	if (mm != current->mm)
		return -EPERM;
	/* access_ok() may accept a range that crosses the end of user space. */
	if (size > mm->task_size || ua > mm->task_size - size)
		return -EFAULT;

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

/* ---- debugfs: powerpc/mm_iommu ---- */

static void store_show(struct seq_file *m, struct mm_iommu_store *store)
{
	struct mm_iommu_region *mem;
	struct rb_node *node;

	spin_lock(&store->lock);
	for (node = rb_first(&store->regions.tree[0]); node; node = rb_next(node)) {
		mem = rb_entry(node, struct mm_iommu_region, node.node[0]);
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
