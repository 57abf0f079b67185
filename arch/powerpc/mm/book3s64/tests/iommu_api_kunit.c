// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tests of pre-registered regions on a real mm.
 *
 * Each case runs in a kthread of its own with a fresh mm (kunit_vm_mmap()). What
 * get_user_pages() says about that mm is the oracle: struct model repeats, from
 * it alone, what translations, run lengths and metadata must be. Whatever a case
 * does, at its end nothing is pinned, charged, dead or indexed: see
 * expect_clean(), which every case's exit calls too.
 */
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/kthread.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/prandom.h>
#include <linux/seq_file.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <asm/mm_iommu.h>
#include <asm/pgtable.h>
#include "../mm_iommu_core.h"
#include "iommu_kunit.h"

#define P		PAGE_SIZE
#define CHUNK_PAGES	BIT(PMD_SHIFT - PAGE_SHIFT)
#define BATCH_PAGES	1024UL	/* iommu_api.c: pinned at a time */

struct fixture {
	struct mm_struct *mm;
	long pins;
	struct rnd_state rnd;
};

/* ---- what must be back at the end ---- */

/* Regions in the index; -1 if they are not sorted or overlap, or the two trees differ. */
static long index_count(struct mm_struct *mm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	unsigned long last = 0;
	struct rb_node *node;
	struct mm_iommu_region *mem;
	long n = 0, twin = 0;

	if (!store)
		return 0;
	spin_lock(&store->lock);
	for (node = rb_first(&store->regions.tree[0]); node; node = rb_next(node), n++) {
		mem = rb_entry(node, struct mm_iommu_region, node.node[0]);
		if (mem->ua < last || mem->ua >= mem->end) {
			n = -1;
			break;
		}
		last = mem->end;
	}
	for (node = rb_first(&store->regions.tree[1]); node; node = rb_next(node))
		twin++;
	if (n != twin)
		n = -1;
	spin_unlock(&store->lock);
	return n;
}

static void expect_clean(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct mm_iommu_store *store = mm_iommu_store(f->mm);

	KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
	KUNIT_EXPECT_EQ(test, index_count(f->mm), 0);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 0UL);
	if (store) {
		KUNIT_EXPECT_EQ(test, store->unpinning, 0UL);
		KUNIT_EXPECT_EQ(test, atomic_long_read(&store->uncharging), 0L);
	}
}

/* In virtual mode look-ups want an RCU read side. */
static long translate(struct mm_struct *mm, unsigned long ua, unsigned long *hpa)
{
	guard(rcu)();
	return mm_iommu_translate(mm, ua, hpa);
}

/*
 * Translate for a map, and take a reference for each IOMMU page; returns bytes. Called with the MMU
 * off, too.
 */
static noinline notrace long find_get(struct mm_struct *mm, unsigned long ua,
				      unsigned long size, unsigned int shift, bool write,
				      unsigned long *hpa)
{
	struct mm_iommu_region *region = mm_iommu_find(mm, ua);
	unsigned long mask = BIT(shift) - 1;
	struct mm_iommu_run run;

	if (!region)
		return -EFAULT;
	/* region-words: they are valid only once @mapped is not 0. */
	if (!atomic64_read_acquire(&region->mapped))
		return -ENXIO;

	mm_iommu_resolve(region, ua, &run);
	size = min(size, run.len) & ~mask;
	if (!size || ((ua | run.hpa) & mask))
		return -EINVAL;
	if (!atomic64_add_unless(&region->mapped, size >> shift, 0))
		return -ENXIO;

	*hpa = run.hpa;
	if (write)
		mm_iommu_mark_dirty(region, ua, size);
	return size;
}

/* Drop references of @n TCEs that led into the region with @ua. */
static noinline notrace int find_put(struct mm_struct *mm, unsigned long ua, unsigned long n)
{
	struct mm_iommu_region *region = mm_iommu_find(mm, ua);

	return region ? mm_iommu_put(region, n) : -ENOENT;
}

static long map_get(struct mm_struct *mm, unsigned long ua, unsigned long size,
		    unsigned int shift, bool write, unsigned long *hpa)
{
	guard(rcu)();
	return find_get(mm, ua, size, shift, write, hpa);
}

static int map_put(struct mm_struct *mm, unsigned long ua, unsigned long n)
{
	guard(rcu)();
	return find_put(mm, ua, n);
}

static int mm_iommu_test_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->mm = own_mm(test);
	f->pins = pins_live();
	prandom_seed_state(&f->rnd, 20250607);
	test->priv = f;
	return 0;
}

/* A failed case may have left regions: the kernel has to survive that. */
static void mm_iommu_test_exit(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct mm_iommu_store *store;
	long left;

	if (!f)
		return;
	left = index_count(f->mm);
	KUNIT_EXPECT_EQ_MSG(test, left, 0L, "regions left behind");
	store = mm_iommu_store(f->mm);
	while (left > 0 && store) {
		struct rb_node *node = rb_first(&store->regions.tree[0]);
		struct mm_iommu_region *mem;

		if (!node)
			break;
		mem = rb_entry(node, struct mm_iommu_region, node.node[0]);
		if (mem->orphan) {
			atomic64_set(&mem->mapped, 2);
			map_put(f->mm, mem->ua, 1);
		} else {
			mem->used = 1;
			atomic64_set(&mem->mapped, 1);
			mm_iommu_unregister(f->mm, mem);
		}
	}
	expect_clean(test);
	mmdrop(f->mm);
	test->priv = NULL;
}

/* ---- user memory ---- */

static unsigned long map_user(struct kunit *test, unsigned long len,
			      unsigned long align, int prot, int flags)
{
	unsigned long ua = kunit_vm_mmap(test, NULL, 0, len + align + P, prot,
					 flags | MAP_ANONYMOUS, 0);

	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)ua));
	return ALIGN(ua, align);
}

static void set_vm_flags(struct kunit *test, unsigned long ua, vm_flags_t flags)
{
	struct vm_area_struct *vma;

	mmap_write_lock(current->mm);
	vma = vma_lookup(current->mm, ua);
	if (vma)
		vm_flags_set(vma, flags);
	mmap_write_unlock(current->mm);
	KUNIT_ASSERT_NOT_NULL(test, vma);
}

static void touch(struct kunit *test, unsigned long ua)
{
	KUNIT_ASSERT_EQ(test, put_user((u8)1, (u8 __user *)ua), 0);
}

static unsigned int *permutation(struct kunit *test, unsigned int n)
{
	struct fixture *f = test->priv;
	unsigned int *at = kunit_kmalloc_array(test, n, sizeof(*at), GFP_KERNEL);
	unsigned int i, j;

	KUNIT_ASSERT_NOT_NULL(test, at);
	for (i = 0; i < n; i++)
		at[i] = i;
	for (i = n - 1; i; i--) {
		j = prandom_u32_state(&f->rnd) % (i + 1);
		swap(at[i], at[j]);
	}
	return at;
}

/* Small pages, touched in an order that makes neighbours rare. */
static unsigned long map_scattered(struct kunit *test, unsigned long pages)
{
	unsigned long ua = map_user(test, pages * P, BIT(PMD_SHIFT),
				    PROT_READ | PROT_WRITE, MAP_PRIVATE);
	unsigned int *at = permutation(test, pages), i;

	set_vm_flags(test, ua, VM_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		touch(test, ua + at[i] * P);
	return ua;
}

static unsigned long map_small(struct kunit *test, unsigned long pages)
{
	unsigned long ua = map_user(test, pages * P, BIT(PMD_SHIFT),
				    PROT_READ | PROT_WRITE, MAP_PRIVATE), i;

	set_vm_flags(test, ua, VM_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		touch(test, ua + i * P);
	return ua;
}

static struct page *user_page(struct kunit *test, unsigned long ua)
{
	struct page *page = NULL;

	KUNIT_ASSERT_EQ(test, get_user_pages_fast(ua & PAGE_MASK, 1, 0, &page), 1);
	return page;
}

static unsigned long oracle(struct kunit *test, unsigned long ua)
{
	struct page *page = user_page(test, ua);
	unsigned long hpa = page_to_phys(page) + offset_in_page(ua);

	put_page(page);
	return hpa;
}

/* Huge pages, or skip the case. */
static unsigned long map_huge(struct kunit *test, unsigned long n)
{
	unsigned long ua, i;
	struct page *page;
	bool huge;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no CONFIG_TRANSPARENT_HUGEPAGE");
	ua = map_user(test, n * BIT(PMD_SHIFT), BIT(PMD_SHIFT),
		      PROT_READ | PROT_WRITE, MAP_PRIVATE);
	set_vm_flags(test, ua, VM_HUGEPAGE);
	for (i = 0; i < n; i++) {
		touch(test, ua + i * BIT(PMD_SHIFT));
		page = user_page(test, ua + i * BIT(PMD_SHIFT));
		huge = PageCompound(page);
		put_page(page);
		if (!huge)
			kunit_skip(test, "no transparent huge page of %lu MiB came",
				   BIT(PMD_SHIFT) >> 20);
	}
	return ua;
}

#ifdef mk_vma_flags
#define FILE_NORESERVE	mk_vma_flags(VMA_NORESERVE_BIT)
#else
#define FILE_NORESERVE	VM_NORESERVE	/* before vma_flags_t */
#endif

/* A file of @n hugetlb pages, or skip the case. */
static struct file *huge_file(struct kunit *test, unsigned long n, unsigned int shift)
{
	struct hstate *h = size_to_hstate(BIT(shift));
	struct file *file;

	/* A kthread's files are closed later: pages of earlier ones come back now. */
	flush_delayed_fput();
	if (!h || h->free_huge_pages - h->resv_huge_pages < n)
		kunit_skip(test, "no %lu hugetlb pages of %lu MiB (hugepagesz=, hugepages=)",
			   n, BIT(shift) >> 20);
	file = hugetlb_file_setup(HUGETLB_ANON_FILE, n << shift, FILE_NORESERVE,
				  HUGETLB_ANONHUGE_INODE, shift);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	return file;
}

static unsigned long map_hugetlb(struct kunit *test, unsigned long n,
				 unsigned int shift, int flags)
{
	struct file *file = huge_file(test, n, shift);
	unsigned long ua = kunit_vm_mmap(test, file, 0, n << shift,
					 PROT_READ | PROT_WRITE, flags, 0), i;

	fput(file);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)ua));
	for (i = 0; i < n; i++)
		touch(test, ua + (i << shift));
	return ua;
}

/* ---- the oracle's view of a region ---- */

struct model {
	unsigned long ua, pages;
	unsigned long *hpa;	/* of each page */
	unsigned long *len;	/* contiguous bytes from each page on, as stored */
	unsigned long contig, scattered;
};

static struct model *model_make(struct kunit *test, unsigned long ua,
				unsigned long pages)
{
	struct model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	unsigned long i, first, end, next, run;

	KUNIT_ASSERT_NOT_NULL(test, m);
	m->ua = ua;
	m->pages = pages;
	m->hpa = kunit_kmalloc_array(test, pages, sizeof(long), GFP_KERNEL);
	m->len = kunit_kmalloc_array(test, pages, sizeof(long), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->hpa);
	KUNIT_ASSERT_NOT_NULL(test, m->len);
	for (i = 0; i < pages; i++)
		m->hpa[i] = oracle(test, ua + i * P);

	/* From the last chunk to the first; @next: the next chunk is whole. */
	for (end = pages, next = 0; end; end = first) {
		first = (ALIGN_DOWN(ua + (end - 1) * P, BIT(PMD_SHIFT)));
		first = first <= ua ? 0 : (first - ua) / P;
		for (i = end, run = 0; i-- > first;) {
			if (i + 1 < end && m->hpa[i] + P == m->hpa[i + 1])
				run++;
			else
				run = 1;
			m->len[i] = run * P;
		}
		if (run < end - first) {
			m->scattered++;
			next = 0;
			continue;
		}
		m->contig++;
		if (next && m->hpa[end - 1] + P == m->hpa[end])
			for (i = first; i < end; i++)
				m->len[i] += m->len[end];
		next = 1;
	}
	return m;
}

/* Page by page, at odd places of each page, and nothing beyond. */
static void expect_translated(struct kunit *test, struct model *m)
{
	static const unsigned long at[] = { 0, 1, PAGE_SIZE / 2 + 8, PAGE_SIZE - 1 };
	struct fixture *f = test->priv;
	unsigned long i, j, k, hpa;
	long len;

	for (i = 0; i < m->pages; i++) {
		for (j = 0; j < ARRAY_SIZE(at); j++) {
			hpa = 0;
			len = translate(f->mm, m->ua + i * P + at[j], &hpa);
			KUNIT_ASSERT_EQ(test, hpa, m->hpa[i] + at[j]);
			KUNIT_ASSERT_EQ(test, (unsigned long)len, m->len[i] - at[j]);
			KUNIT_ASSERT_LE(test, i * P + at[j] + len, m->pages * P);
		}
		/* Said once more without the model's idea of chunks. */
		for (k = 0; k < m->len[i] / P; k++)
			if (m->hpa[i + k] != m->hpa[i] + k * P)
				break;
		KUNIT_ASSERT_EQ(test, k * P, m->len[i]);
	}
	hpa = 4711;
	KUNIT_EXPECT_EQ(test, translate(f->mm, m->ua - 1, &hpa), -EFAULT);
	KUNIT_EXPECT_EQ(test, translate(f->mm, m->ua + m->pages * P, &hpa), -EFAULT);
	KUNIT_EXPECT_EQ(test, hpa, 4711UL);
}

static void expect_metadata(struct kunit *test, struct model *m,
			    struct mm_iommu_region *mem)
{
	unsigned long chunks = m->contig + m->scattered;
	unsigned long blocks = DIV_ROUND_UP(chunks, P / sizeof(u64));

	KUNIT_EXPECT_EQ(test, mem->contig, m->contig);
	KUNIT_EXPECT_EQ(test, mem->metadata,
			sizeof(*mem) + blocks * sizeof(u64 *) +
			chunks * sizeof(u64) +
			m->scattered * CHUNK_PAGES * sizeof(u64));
	KUNIT_EXPECT_EQ(test, mem->charged, m->pages);
}

/* IOMMU pages of every size against what the oracle says is possible. */
static void expect_map_get(struct kunit *test, struct model *m,
			   struct mm_iommu_region *mem)
{
	static const unsigned int shifts[] = { 12, 16, 20, 21, 24 };
	struct fixture *f = test->priv;
	unsigned long i, k, ua, hpa, want, mask;
	unsigned int s;
	long ret;

	for (s = 0; s < ARRAY_SIZE(shifts); s++) {
		mask = BIT(shifts[s]) - 1;
		for (i = 0; i < m->pages; i++) {
			ua = m->ua + i * P;
			want = m->len[i] & ~mask;
			if ((ua | m->hpa[i]) & mask)
				want = 0;
			hpa = 0;
			ret = map_get(f->mm, ua, ULONG_MAX, shifts[s],
				      false, &hpa);
			KUNIT_ASSERT_EQ(test, ret, want ? (long)want : -EINVAL);
			if (ret < 0)
				continue;
			KUNIT_ASSERT_EQ(test, hpa, m->hpa[i]);
			for (k = 0; k < want / P; k++)
				KUNIT_ASSERT_EQ(test, m->hpa[i + k], hpa + k * P);
			KUNIT_ASSERT_EQ(test, (long)atomic64_read(&mem->mapped),
					1 + (ret >> shifts[s]));
			KUNIT_ASSERT_EQ(test, map_put(f->mm, ua,
						      ret >> shifts[s]), 0);
			/* Not more than was asked for. */
			ret = map_get(f->mm, ua, mask + 1, shifts[s],
				      false, &hpa);
			KUNIT_ASSERT_EQ(test, ret, (long)mask + 1);
			KUNIT_ASSERT_EQ(test, map_put(f->mm, ua, 1), 0);
		}
	}
	/* Not aligned to the IOMMU page, or less than one asked for. */
	KUNIT_EXPECT_EQ(test, map_get(f->mm, m->ua + 8, P, 12, false, &hpa),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, m->ua, 4095, 12, false, &hpa),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, m->ua, 0, 12, false, &hpa),
			-EINVAL);
	if (P == SZ_4K)
		return;
	/* IOMMU pages below the kernel's: offsets within the page are kept. */
	KUNIT_EXPECT_EQ(test, map_get(f->mm, m->ua + 4096, 8192, 12, false,
				      &hpa), 8192);
	KUNIT_EXPECT_EQ(test, hpa, m->hpa[0] + 4096);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 3);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, m->ua, 2), 0);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 1);
}

/* Register, compare everything with the oracle, unregister. */
static struct model *check_range(struct kunit *test, unsigned long ua,
				 unsigned long pages)
{
	struct fixture *f = test->priv;
	struct model *m;
	struct mm_iommu_region *mem;

	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, pages * P, &mem), 0);
	m = model_make(test, ua, pages);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + (long)pages);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, pages);
	expect_translated(test, m);
	expect_metadata(test, m, mem);
	expect_map_get(test, m, mem);
	KUNIT_ASSERT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	expect_clean(test);
	return m;
}

/* ---- cases ---- */

static void transitions(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 4), hpa = 0, size = 4 * P;
	struct mm_iommu_region *mem, *again, *other;
	struct page *page;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, translate(f->mm, ua, &hpa), -EFAULT);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), -EFAULT);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), -ENOENT);

	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, size, &mem), 0);
	KUNIT_EXPECT_EQ(test, mem->used, 1UL);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 1);
	KUNIT_EXPECT_FALSE(test, mem->claimed);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + 4);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 4UL);

	/* Again: one more use, nothing pinned or charged again. */
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, size, &again), 0);
	KUNIT_EXPECT_PTR_EQ(test, again, mem);
	KUNIT_EXPECT_EQ(test, mem->used, 2UL);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 1);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + 4);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 4UL);

	/* Three IOMMU pages of 4K, one of a kernel page. */
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, 1 << 12, 12, true, &hpa),
				1 << 12);
		KUNIT_EXPECT_EQ(test, hpa, oracle(test, ua));
	}
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 4);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua + 3 * P, P, PAGE_SHIFT, false, &hpa),
			(long)P);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 5);

	/* The first unregister gives a use back, the last is refused. */
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	KUNIT_EXPECT_EQ(test, mem->used, 1UL);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), -EBUSY);
	KUNIT_EXPECT_EQ(test, mem->used, 1UL);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 5);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 4UL);
	KUNIT_EXPECT_GT(test, translate(f->mm, ua + P + 5, &hpa), 0);
	KUNIT_EXPECT_EQ(test, hpa, oracle(test, ua + P + 5));

	/* Everybody has taken it back: it can still be mapped, but not be registered again. */
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, size, &again), -ESTALE);
	KUNIT_EXPECT_EQ(test, mem->used, 1UL);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua + P, P, PAGE_SHIFT, false, &hpa),
			(long)P);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 6);

	/* More than there are: refused, and nothing is dropped. */
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 6), -ERANGE);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, LONG_MAX), -ERANGE);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 6);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua + 3 * P + 9, 4), 0);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 2);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), -EBUSY);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), 0);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), -ERANGE);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 1);

	/* Dead: nothing starts. */
	page = user_page(test, ua);
	KUNIT_EXPECT_TRUE(test, folio_maybe_dma_pinned(page_folio(page)));
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), -EFAULT);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), -ENOENT);
	KUNIT_EXPECT_EQ(test, translate(f->mm, ua, &hpa), -EFAULT);
	KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
	KUNIT_EXPECT_FALSE(test, folio_maybe_dma_pinned(page_folio(page)));
	put_page(page);
	expect_clean(test);

	/* The range is free for another shape at once. */
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua + P, P, &other), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, other), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, 2 * P, &other), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, other), 0);
}

/* A region that is still in the index, but claimed (mapped 0): refused. */
static void claimed_refused(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 1), hpa = 0;
	struct mm_iommu_region *mem;

	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, P, &mem), 0);
	atomic64_set(&mem->mapped, 0);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), -ENXIO);
	/* Who has read @mapped before it was claimed is refused here. */
	KUNIT_EXPECT_FALSE(test, mm_iommu_get(mem, 1));
	KUNIT_EXPECT_EQ(test, translate(f->mm, ua, &hpa), -EFAULT);
	KUNIT_EXPECT_NE(test, map_put(f->mm, ua, 1), 0);
	KUNIT_EXPECT_EQ(test, (long)atomic64_read(&mem->mapped), 0);
	atomic64_set(&mem->mapped, 1);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

/* Registered: pages 4 to 7. */
static const struct overlap_case {
	const char *name;
	unsigned int first, pages;
	int ret;
} overlap_cases[] = {
	{ "equal", 4, 4, 0 },
	{ "first page", 4, 1, -EINVAL },
	{ "inside", 5, 2, -EINVAL },
	{ "last page", 7, 1, -EINVAL },
	{ "all but the first page", 5, 3, -EINVAL },
	{ "all but the last page", 4, 3, -EINVAL },
	{ "around", 3, 6, -EINVAL },
	{ "far around", 0, 12, -EINVAL },
	{ "one page more before", 3, 5, -EINVAL },
	{ "one page more after", 4, 5, -EINVAL },
	{ "into the first page", 2, 3, -EINVAL },
	{ "into the last page", 7, 3, -EINVAL },
	{ "touching before", 2, 2, 0 },
	{ "touching after", 8, 2, 0 },
	{ "before with a gap", 1, 2, 0 },
	{ "after with a gap", 9, 2, 0 },
};

KUNIT_ARRAY_PARAM_DESC(overlap, overlap_cases, name);

static void overlaps(struct kunit *test)
{
	const struct overlap_case *c = test->param_value;
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 12), pages = 4, hpa;
	struct mm_iommu_region *mem, *other = NULL;
	bool equal = c->first == 4 && c->pages == 4;

	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + 4 * P, 4 * P, &mem), 0);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + c->first * P,
						c->pages * P, &other), c->ret);
	if (!c->ret && !equal)
		pages += c->pages;
	KUNIT_EXPECT_EQ(test, mem->used, equal ? 2UL : 1UL);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + (long)pages);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, pages);
	KUNIT_EXPECT_EQ(test, index_count(f->mm), pages > 4 ? 2L : 1L);
	KUNIT_EXPECT_GT(test, translate(f->mm, ua + 8 * P - 1, &hpa), 0);
	KUNIT_EXPECT_EQ(test, hpa, oracle(test, ua + 8 * P - 1));
	if (!c->ret) {
		KUNIT_EXPECT_GT(test, translate(f->mm, ua + c->first * P, &hpa), 0);
		KUNIT_EXPECT_EQ(test, hpa, oracle(test, ua + c->first * P));
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, other), 0);
	}
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

static void bad_arguments(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 2);
	unsigned long top = f->mm->task_size;
	struct mm_iommu_region *mem = NULL;
	const struct {
		unsigned long ua, size;
		int ret;
	} c[] = {
		{ ua, 0, -EINVAL },
		{ ua, 1, -EINVAL },
		{ ua, P - 1, -EINVAL },
		{ ua, P + 1, -EINVAL },
		{ ua + 1, P, -EINVAL },
		{ ua + P / 2, P, -EINVAL },
		{ -P, 2 * P, -EINVAL },
		{ -P, P, -EINVAL },
		{ P, -P, -EINVAL },
		{ ua, -P, -EINVAL },
		{ top, P, -EFAULT },
		{ top - P, 2 * P, -EFAULT },
		{ TASK_SIZE_MAX, P, -EFAULT },
		{ TASK_SIZE_MAX - P, 2 * P, -EFAULT },
		{ PAGE_OFFSET, P, -EFAULT },
		{ ua, PAGE_OFFSET, -EFAULT },
	};
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		ret = mm_iommu_register(f->mm, c[i].ua, c[i].size, &mem);
		KUNIT_EXPECT_EQ_MSG(test, ret, c[i].ret, "case %u: ua %lx size %lx",
				    i, c[i].ua, c[i].size);
		expect_clean(test);
		if (c[i].ret != -EINVAL)
			continue;
		ret = mm_iommu_register_dev(f->mm, c[i].ua, c[i].size, 0, &mem);
		KUNIT_EXPECT_EQ_MSG(test, ret, c[i].ret, "device, case %u", i);
		expect_clean(test);
	}
	KUNIT_EXPECT_EQ(test, mm_iommu_register_dev(f->mm, ua, P, 1, &mem), -EINVAL);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(&init_mm, ua, P, &mem), -EPERM);
	KUNIT_EXPECT_NULL(test, mem);
}

static void read_only(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_user(test, 4 * P, P, PROT_READ, MAP_PRIVATE);
	struct mm_iommu_region *mem;

	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), -EFAULT);
	expect_clean(test);
	ua = map_user(test, 4 * P, P, PROT_NONE, MAP_PRIVATE);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), -EFAULT);
}

/* A hole in the first, a middle and the last of three batches. */
static const struct hole_case {
	const char *name;
	unsigned long page;
} hole_cases[] = {
	{ "first page", 0 },
	{ "second page", 1 },
	{ "end of first batch", BATCH_PAGES - 1 },
	{ "start of middle batch", BATCH_PAGES },
	{ "middle batch", BATCH_PAGES + 77 },
	{ "start of last batch", 2 * BATCH_PAGES },
	{ "last page", 3 * BATCH_PAGES - 1 },
};

KUNIT_ARRAY_PARAM_DESC(hole, hole_cases, name);

static void holes(struct kunit *test)
{
	const struct hole_case *c = test->param_value;
	struct fixture *f = test->priv;
	unsigned long size = 3 * BATCH_PAGES * P, i, hpa;
	unsigned long ua = map_user(test, size, BATCH_PAGES * P,
				    PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct page *page;
	struct mm_iommu_region *mem;

	KUNIT_ASSERT_EQ(test, vm_munmap(ua + c->page * P, P), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, size, &mem), -EFAULT);
	expect_clean(test);
	KUNIT_EXPECT_EQ(test, translate(f->mm, ua, &hpa), -EFAULT);
	for (i = 0; i < 3 * BATCH_PAGES; i += 97) {
		if (i == c->page)
			continue;
		page = user_page(test, ua + i * P);
		KUNIT_EXPECT_FALSE(test, folio_maybe_dma_pinned(page_folio(page)));
		put_page(page);
	}
	/* What does not reach the hole can be registered now. */
	if (c->page) {
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, P, &mem), 0);
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	}
}

/* RLIMIT_MEMLOCK, for a caller without CAP_IPC_LOCK. */
static void memlock_limit(struct kunit *test)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT, ua;
	struct fixture *f = test->priv;
	struct mm_iommu_region *mem, *one;
	const struct cred *old;

	if (limit < 2 || limit > 8192)
		kunit_skip(test, "RLIMIT_MEMLOCK is %lu pages", limit);
	ua = map_small(test, limit + 1);
	old = ipc_lock_drop(test);

	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, (limit + 1) * P, &mem),
			-ENOMEM);
	expect_clean(test);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, limit * P, &mem), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua + limit * P, P, &one),
			-ENOMEM);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, limit);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + (long)limit);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	/* What is on its way back counts as free. */
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua + P, limit * P, &mem), 0);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, limit);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);

	ipc_lock_back(old);
}

static void translate_small(struct kunit *test)
{
	unsigned long n = 2 * CHUNK_PAGES + CHUNK_PAGES / 2;
	unsigned long ua = map_small(test, n);

	check_range(test, ua, n);
	check_range(test, ua, 1);
	check_range(test, ua + CHUNK_PAGES * P, 1);
	check_range(test, ua + (CHUNK_PAGES - 1) * P, 2);
	check_range(test, ua + 5 * P, n - 7);
}

static void translate_scattered(struct kunit *test)
{
	unsigned long n = 2 * CHUNK_PAGES + CHUNK_PAGES / 2;
	unsigned long ua = map_scattered(test, n);
	struct model *m = check_range(test, ua, n);

	KUNIT_EXPECT_GE(test, m->scattered, 2UL);
	m = check_range(test, ua + 3 * P, n - 4);
	KUNIT_EXPECT_GE(test, m->scattered, 2UL);
	check_range(test, ua + (CHUNK_PAGES - 1) * P, CHUNK_PAGES + 2);
}

static void translate_huge(struct kunit *test)
{
	unsigned long ua = map_huge(test, 3);
	struct model *m = check_range(test, ua, 3 * CHUNK_PAGES);

	KUNIT_EXPECT_EQ(test, m->contig, 3UL);
	KUNIT_EXPECT_EQ(test, m->scattered, 0UL);
	/* Partial first and last chunks are contiguous as well. */
	m = check_range(test, ua + P, 3 * CHUNK_PAGES - 2);
	KUNIT_EXPECT_EQ(test, m->contig, 3UL);
	m = check_range(test, ua + (CHUNK_PAGES - 1) * P, 2);
	KUNIT_EXPECT_EQ(test, m->contig, 2UL);
	m = check_range(test, ua + 7 * P, 9);
	KUNIT_EXPECT_EQ(test, m->contig, 1UL);
}

/* hugetlb pages of the size of a chunk, shared and private. */
static void translate_hugetlb(struct kunit *test)
{
	static const int flags[] = { MAP_SHARED, MAP_PRIVATE };
	struct model *m;
	unsigned long ua;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		ua = map_hugetlb(test, 3, PMD_SHIFT, flags[i]);
		m = check_range(test, ua, 3 * CHUNK_PAGES);
		KUNIT_EXPECT_EQ(test, m->contig, 3UL);
		KUNIT_EXPECT_EQ(test, m->scattered, 0UL);
		m = check_range(test, ua + 3 * P, 3 * CHUNK_PAGES - 7);
		KUNIT_EXPECT_EQ(test, m->contig, 3UL);
		m = check_range(test, ua + CHUNK_PAGES * P - P, 2);
		KUNIT_EXPECT_EQ(test, m->contig, 2UL);
		/* Its pages are for the next one. */
		KUNIT_EXPECT_EQ(test, vm_munmap(ua, 3 * BIT(PMD_SHIFT)), 0);
	}
}

/* One page of many chunks: contiguous from anywhere to the region's end. */
static void translate_gigantic(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua, hpa, first, size, i;
	struct mm_iommu_region *mem;

	if (!radix_enabled())
		kunit_skip(test, "hash translation: a PMD maps as much as the largest page");
	ua = map_hugetlb(test, 1, PUD_SHIFT, MAP_SHARED);
	first = oracle(test, ua);
	size = BIT(PUD_SHIFT) - 5 * P;
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + 3 * P, size, &mem), 0);
	KUNIT_EXPECT_EQ(test, mem->contig, BIT(PUD_SHIFT - PMD_SHIFT));
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + (long)(size / P));
	for (i = 3 * P; i < 3 * P + size; i += 37 * P + 24) {
		KUNIT_ASSERT_EQ(test, translate(f->mm, ua + i, &hpa),
				(long)(3 * P + size - i));
		KUNIT_ASSERT_EQ(test, hpa, first + i);
	}
	KUNIT_ASSERT_EQ(test, hpa, oracle(test, ua + i - 37 * P - 24));
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), -EFAULT);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua + BIT(24), ULONG_MAX, 24, true,
				      &hpa), (long)(BIT(PUD_SHIFT) - 2 * BIT(24)));
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua + BIT(24),
				      BIT(PUD_SHIFT - 24) - 2), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

/* The same few huge pages over and over, until one block of words is not enough. */
static unsigned long map_blocks(struct kunit *test, unsigned long *chunks,
				unsigned long *hpa)
{
	unsigned long size, ua, i, each = 3 * BIT(PMD_SHIFT);
	struct file *file, *room;

	*chunks = roundup(MM_IOMMU_BLOCK_WORDS + 4, 3);
	size = *chunks << PMD_SHIFT;
	file = huge_file(test, 3, PMD_SHIFT);
	/* Address space for pages of this size (hash: by slices), no memory. */
	room = hugetlb_file_setup(HUGETLB_ANON_FILE, size, FILE_NORESERVE,
				  HUGETLB_ANONHUGE_INODE, PMD_SHIFT);
	KUNIT_ASSERT_FALSE(test, IS_ERR(room));
	ua = kunit_vm_mmap(test, room, 0, size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, 0);
	fput(room);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)ua));
	for (i = 0; i < size; i += each)
		if (vm_mmap(file, ua + i, each, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED, 0) != ua + i)
			break;
	fput(file);
	KUNIT_ASSERT_EQ(test, i, size);
	for (i = 0; i < 3; i++) {
		touch(test, ua + (i << PMD_SHIFT));
		hpa[i] = oracle(test, ua + (i << PMD_SHIFT));
	}
	return ua;
}

/* More metadata than one block of words. */
static void blocks(struct kunit *test)
{
	unsigned long chunks, ua, at, hpa, first[3], len, i;
	struct fixture *f = test->priv;
	struct mm_iommu_region *mem;

	ua = map_blocks(test, &chunks, first);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, chunks << PMD_SHIFT, &mem), 0);
	KUNIT_EXPECT_EQ(test, mem->contig, chunks);
	KUNIT_EXPECT_EQ(test, mem->metadata,
			sizeof(*mem) + 2 * sizeof(u64 *) + chunks * sizeof(u64));
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + (long)(chunks * CHUNK_PAGES));
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, chunks * CHUNK_PAGES);
	for (i = chunks, len = 0; i--;) {
		if (i + 1 == chunks || first[i % 3] + BIT(PMD_SHIFT) != first[(i + 1) % 3])
			len = 0;
		len += BIT(PMD_SHIFT);
		at = ua + (i << PMD_SHIFT) + (i % CHUNK_PAGES) * P + 8;
		KUNIT_ASSERT_EQ(test, translate(f->mm, at, &hpa),
				(long)(len - (i % CHUNK_PAGES) * P - 8));
		KUNIT_ASSERT_EQ(test, hpa, first[i % 3] + (i % CHUNK_PAGES) * P + 8);
	}
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

/* One huge page, one chunk of single pages, one huge page. */
static void translate_mixed(struct kunit *test)
{
	unsigned long ua = map_huge(test, 3), i;
	unsigned int *at = permutation(test, CHUNK_PAGES);
	struct model *m;

	KUNIT_ASSERT_EQ(test, vm_munmap(ua + BIT(PMD_SHIFT), BIT(PMD_SHIFT)), 0);
	KUNIT_ASSERT_EQ(test, vm_mmap(NULL, ua + BIT(PMD_SHIFT), BIT(PMD_SHIFT),
				      PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0),
			ua + BIT(PMD_SHIFT));
	set_vm_flags(test, ua + BIT(PMD_SHIFT), VM_NOHUGEPAGE);
	for (i = 0; i < CHUNK_PAGES; i++)
		touch(test, ua + BIT(PMD_SHIFT) + at[i] * P);
	m = check_range(test, ua, 3 * CHUNK_PAGES);
	KUNIT_EXPECT_EQ(test, m->contig, 2UL);
	KUNIT_EXPECT_EQ(test, m->scattered, 1UL);
	m = check_range(test, ua + 2 * P, 3 * CHUNK_PAGES - 5);
	KUNIT_EXPECT_EQ(test, m->contig, 2UL);
	m = check_range(test, ua + (CHUNK_PAGES - 1) * P, CHUNK_PAGES);
	KUNIT_EXPECT_EQ(test, m->contig, 1UL);
}

/* The page tables above a region may change, the region does not. */
static void translate_after_split(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_huge(test, 1), hpa;
	struct model *m;
	struct mm_iommu_region *mem;

	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, BIT(PMD_SHIFT), &mem), 0);
	m = model_make(test, ua, CHUNK_PAGES);
	KUNIT_EXPECT_EQ(test, m->contig, 1UL);
	KUNIT_EXPECT_EQ(test, vm_munmap(ua + P, P), 0);
	expect_translated(test, m);
	KUNIT_EXPECT_EQ(test, vm_munmap(ua, BIT(PMD_SHIFT)), 0);
	expect_translated(test, m);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, ULONG_MAX, PAGE_SHIFT, true,
				      &hpa),
			(long)BIT(PMD_SHIFT));
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, CHUNK_PAGES), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

static bool test_clear_dirty(struct page *page)
{
	return folio_test_clear_dirty(page_folio(page));
}

/* Two single pages in a scattered chunk: only what was mapped to write is dirty. */
static void dirty(struct kunit *test)
{
	static const int flags[] = { MAP_PRIVATE, MAP_SHARED };
	struct fixture *f = test->priv;
	struct page *page[8];
	unsigned long ua, hpa, i, k;
	struct mm_iommu_region *mem[2];

	for (k = 0; k < ARRAY_SIZE(flags); k++) {
		ua = map_user(test, 8 * P, 8 * P, PROT_READ | PROT_WRITE, flags[k]);
		set_vm_flags(test, ua, VM_NOHUGEPAGE);
		for (i = 0; i < 8; i += 2)
			touch(test, ua + i * P);
		for (i = 1; i < 8; i += 2)
			touch(test, ua + i * P);
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem[0]), 0);
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + 4 * P, 4 * P,
							&mem[1]), 0);
		for (i = 0; i < 8; i++) {
			page[i] = user_page(test, ua + i * P);
			test_clear_dirty(page[i]);
		}
		/* Region 0: page 1 for reading. Region 1: page 6 for writing. */
		KUNIT_EXPECT_EQ(test, map_get(f->mm, ua + P, P, 12, false,
					      &hpa), (long)P);
		KUNIT_EXPECT_EQ(test, map_get(f->mm, ua + 6 * P, P, 12, true,
					      &hpa), (long)P);
		KUNIT_EXPECT_EQ(test, map_put(f->mm, ua + P, P >> 12), 0);
		KUNIT_EXPECT_EQ(test, map_put(f->mm, ua + 6 * P, P >> 12), 0);
		KUNIT_EXPECT_FALSE(test, PageDirty(page[6]));
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem[0]), 0);
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem[1]), 0);
		KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
		for (i = 0; i < 8; i++) {
			if (i < 4)
				KUNIT_EXPECT_FALSE(test, PageDirty(page[i]));
			if (i == 6)
				KUNIT_EXPECT_TRUE(test, PageDirty(page[i]));
			put_page(page[i]);
		}
	}
}

/* Dirty page by page in a scattered chunk, and over the whole of a long run. */
static void dirty_exact(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long n = CHUNK_PAGES, ua = map_scattered(test, n), hpa, i, at;
	struct page **page = kunit_kcalloc(test, n, sizeof(*page), GFP_KERNEL);
	struct model *m;
	struct mm_iommu_region *mem;
	long ret;

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, n * P, &mem), 0);
	m = model_make(test, ua, n);
	if (!m->scattered) {
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
		kunit_skip(test, "shuffled faults gave contiguous memory");
	}
	for (i = 0; i < n; i++) {
		page[i] = user_page(test, ua + i * P);
		test_clear_dirty(page[i]);
	}
	/* Every second run to write, as long as it is. */
	for (i = 0, at = 0; i < n; i += ret / P, at++) {
		ret = map_get(f->mm, ua + i * P, ULONG_MAX, PAGE_SHIFT, at & 1, &hpa);
		KUNIT_ASSERT_EQ(test, (unsigned long)ret, m->len[i]);
		KUNIT_EXPECT_EQ(test, map_put(f->mm, ua + i * P, ret >> PAGE_SHIFT), 0);
	}
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
	for (i = 0, at = 0; i < n; i++) {
		KUNIT_EXPECT_EQ_MSG(test, PageDirty(page[i]), (int)(at & 1),
				    "page %lu", i);
		if (m->len[i] == P)
			at++;
		put_page(page[i]);
	}
}

/* ---- many regions ---- */

#define MANY	1000

static void find_all(struct kunit *test, unsigned long ua, struct mm_iommu_region **mem,
		     unsigned long *hpas, unsigned int i)
{
	struct fixture *f = test->priv;
	unsigned long at = ua + 2 * i * P, hpa = 0;

	if (mem[i]) {
		KUNIT_ASSERT_EQ(test, translate(f->mm, at + P - 1, &hpa), 1);
		KUNIT_ASSERT_EQ(test, hpa, hpas[i] + P - 1);
		KUNIT_ASSERT_EQ(test, translate(f->mm, at, &hpa), (long)P);
		KUNIT_ASSERT_EQ(test, hpa, hpas[i]);
	} else {
		KUNIT_ASSERT_EQ(test, translate(f->mm, at, &hpa), -EFAULT);
	}
	/* The gaps on both sides. */
	KUNIT_ASSERT_EQ(test, translate(f->mm, at - 1, &hpa), -EFAULT);
	KUNIT_ASSERT_EQ(test, translate(f->mm, at + P, &hpa), -EFAULT);
}

enum { ASCENDING, DESCENDING, SHUFFLED };
static const struct order_case {
	const char *name;
	int order;
} order_cases[] = {
	{ "ascending", ASCENDING },
	{ "descending", DESCENDING },
	{ "shuffled", SHUFFLED },
};

KUNIT_ARRAY_PARAM_DESC(order, order_cases, name);

static void many_regions(struct kunit *test)
{
	const struct order_case *c = test->param_value;
	struct fixture *f = test->priv;
	struct mm_iommu_region **mem;
	unsigned long *hpas = kunit_kcalloc(test, MANY, sizeof(*hpas), GFP_KERNEL);
	unsigned int *in = permutation(test, MANY), *out = permutation(test, MANY);
	unsigned long ua = map_user(test, 2 * MANY * P, P, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE) + P;
	unsigned int i, k;

	mem = kunit_kcalloc(test, MANY, sizeof(*mem), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, mem);
	KUNIT_ASSERT_NOT_NULL(test, hpas);
	set_vm_flags(test, ua, VM_NOHUGEPAGE);
	for (i = 0; i < MANY; i++) {
		k = c->order == ASCENDING ? i :
		    c->order == DESCENDING ? MANY - 1 - i : in[i];
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + 2 * k * P, P,
							&mem[k]), 0);
		hpas[k] = oracle(test, ua + 2 * k * P);
		find_all(test, ua, mem, hpas, k);
		find_all(test, ua, mem, hpas, out[i]);
		KUNIT_ASSERT_EQ(test, index_count(f->mm), (long)i + 1);
	}
	for (i = 0; i < MANY; i++)
		find_all(test, ua, mem, hpas, i);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, (unsigned long)MANY);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + MANY);

	for (i = 0; i < MANY; i++) {
		KUNIT_ASSERT_EQ(test, mm_iommu_unregister(f->mm, mem[out[i]]), 0);
		mem[out[i]] = NULL;
		find_all(test, ua, mem, hpas, out[i]);
		find_all(test, ua, mem, hpas, in[i]);
		find_all(test, ua, mem, hpas, (i * 7) % MANY);
		KUNIT_ASSERT_EQ(test, index_count(f->mm), (long)MANY - 1 - i);
	}
}

#define WIDE	60

/* In the place of each region one that begins before it did. */
static void wider_instead(struct kunit *test)
{
	struct fixture *f = test->priv;
	const unsigned int n = WIDE;
	unsigned long ua = map_small(test, 2 * n + 2) + P, hpa = 0;
	struct mm_iommu_region *mem[WIDE], *wide, *other;
	unsigned int i;

	for (i = 0; i < n; i++)
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + 2 * i * P, P,
							&mem[i]), 0);
	for (i = 0; i < n; i++) {
		unsigned long at = ua + 2 * i * P;
		int ret;

		/* Instead of region i one that also covers the gap before it. */
		KUNIT_ASSERT_EQ(test, mm_iommu_unregister(f->mm, mem[i]), 0);
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, at - P, 2 * P, &wide), 0);
		KUNIT_EXPECT_GT_MSG(test, translate(f->mm, at - P, &hpa), 0L,
				    "region %u, first page", i);
		KUNIT_EXPECT_GT_MSG(test, translate(f->mm, at, &hpa), 0L,
				    "region %u, second page", i);
		KUNIT_EXPECT_EQ(test, hpa, oracle(test, at));
		ret = mm_iommu_register(f->mm, at, P, &other);
		KUNIT_EXPECT_EQ_MSG(test, ret, -EINVAL, "region %u overlapped", i);
		if (!ret)
			KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, other), 0);
		KUNIT_ASSERT_EQ(test, mm_iommu_unregister(f->mm, wide), 0);
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, at, P, &mem[i]), 0);
	}
	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem[i]), 0);
}

/*
 * A writer that is stopped half way, by an interrupt on another CPU, say: one of the two
 * trees is broken just then, and readers find everything in the other.
 */
static void writer_stopped(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 6), hpa = 0;
	struct mm_iommu_region *mem[3];
	struct mm_iommu_store *store;
	struct rb_root whole;
	unsigned int i, tree;

	for (i = 0; i < 3; i++)
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + 2 * i * P, P, &mem[i]), 0);
	store = mm_iommu_store(f->mm);
	spin_lock(&store->lock);
	for (tree = 0; tree < 2; tree++) {
		/* As latch_tree_insert() begins with each of them */
		raw_write_seqcount_latch(&store->regions.seq);
		whole = store->regions.tree[tree];
		store->regions.tree[tree] = RB_ROOT;
		for (i = 0; i < 6; i++) {
			KUNIT_EXPECT_EQ(test, translate(f->mm, ua + i * P, &hpa),
					i & 1 ? -EFAULT : (long)P);
			if (!no_real_mode())
				KUNIT_EXPECT_EQ(test, call_real(mm_iommu_translate,
								(unsigned long)f->mm, ua + i * P,
								(unsigned long)&hpa, 0, 0, 0),
						i & 1 ? -EFAULT : (long)P);
		}
		store->regions.tree[tree] = whole;
	}
	spin_unlock(&store->lock);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem[i]), 0);
}

#define CHURN_REGIONS	64	/* every second stays */
#define CHURN_LOOKUPS	20000

struct churn {
	struct mm_struct *mm;
	unsigned long ua;
	bool stop;
	long rounds;
	struct completion done;
};

/* Registers and unregisters every second region, so that the trees keep being rotated. */
static int churn_thread(void *arg)
{
	struct mm_iommu_region *mem[CHURN_REGIONS / 2];
	struct churn *c = arg;
	unsigned int i;
	int ret = 0;

	kthread_use_mm(c->mm);
	while (!READ_ONCE(c->stop) && !ret) {
		for (i = 0; i < CHURN_REGIONS / 2 && !ret; i++)
			ret = mm_iommu_register(c->mm, c->ua + (4 * i + 2) * P, P, &mem[i]);
		while (i--)
			ret = mm_iommu_unregister(c->mm, mem[i]) ?: ret;
		WRITE_ONCE(c->rounds, c->rounds + 1);
		cond_resched();
	}
	kthread_unuse_mm(c->mm);
	complete(&c->done);
	return ret;
}

/* A region that is there is found, in either mode, whatever comes and goes around it. */
static void no_misses(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct mm_iommu_region *mem[CHURN_REGIONS / 2];
	struct churn *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	unsigned long at, hpa, missed = 0, missed_real = 0;
	struct task_struct *t;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, c);
	c->mm = f->mm;
	c->ua = map_small(test, 2 * CHURN_REGIONS);
	init_completion(&c->done);
	for (i = 0; i < CHURN_REGIONS / 2; i++)
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, c->ua + 4 * i * P, P,
							&mem[i]), 0);
	t = kthread_run(churn_thread, c, "mm_iommu_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(t));
	for (i = 0; i < CHURN_LOOKUPS || (READ_ONCE(c->rounds) < 20 && i < BIT(30)); i++) {
		at = c->ua + 4 * (i % (CHURN_REGIONS / 2)) * P;
		missed += translate(f->mm, at, &hpa) != (long)P;
		if (!no_real_mode())
			missed_real += call_real(mm_iommu_translate, (unsigned long)f->mm, at,
						 (unsigned long)&hpa, 0, 0, 0) != (long)P;
		if (i % 256 == 0)
			cond_resched();
	}
	WRITE_ONCE(c->stop, true);
	wait_for_completion(&c->done);
	KUNIT_EXPECT_EQ(test, missed, 0UL);
	KUNIT_EXPECT_EQ(test, missed_real, 0UL);
	kunit_info(test, "%u look-ups in each mode, %ld rounds of changes", i, c->rounds);
	for (i = 0; i < CHURN_REGIONS / 2; i++)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem[i]), 0);
}

static void device_memory(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_user(test, 8 * P, 8 * P, PROT_NONE, MAP_PRIVATE);
	unsigned long base = 0x6000000000000UL, hpa, i;
	struct mm_iommu_region *mem, *other;

	KUNIT_ASSERT_EQ(test, mm_iommu_register_dev(f->mm, ua, 8 * P, base, &mem), 0);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 0UL);
	KUNIT_EXPECT_EQ(test, mem->metadata, sizeof(*mem));
	KUNIT_EXPECT_EQ(test, mem->contig, 0UL);
	for (i = 0; i < 8 * P; i += P / 2 - 1) {
		KUNIT_EXPECT_EQ(test, translate(f->mm, ua + i, &hpa), (long)(8 * P - i));
		KUNIT_EXPECT_EQ(test, hpa, base + i);
	}
	KUNIT_EXPECT_EQ(test, translate(f->mm, ua + 8 * P, &hpa), -EFAULT);
	/* A writable mapping has nothing to mark dirty, and must not try. */
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, 8 * P, PAGE_SHIFT, true, &hpa),
			(long)(8 * P));
	KUNIT_EXPECT_EQ(test, hpa, base);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, 8 * P, 24, true, &hpa),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister_last(f->mm, mem), -EBUSY);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 8), 0);
	/* The same range as another memory is not the same. */
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, 8 * P, &other), -EINVAL);
	KUNIT_EXPECT_EQ(test, mm_iommu_register_dev(f->mm, ua, 8 * P, base + P, &other),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, mm_iommu_register_dev(f->mm, ua, 8 * P, base, &other), 0);
	KUNIT_EXPECT_PTR_EQ(test, other, mem);
	KUNIT_EXPECT_EQ(test, mem->used, 2UL);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

/* ---- price ---- */

#define PRICE_LOOKUPS	4096

/*
 * One translation among so many regions, in the @last of them or in all by turns; nanoseconds
 * are instructions under -icount. The last one is the largest.
 */
static void price_among(struct kunit *test, unsigned long n, bool last, s64 *hundredths)
{
	struct fixture *f = test->priv;
	struct mm_iommu_region **mem = kvcalloc(n, sizeof(*mem), GFP_KERNEL);
	unsigned long base = BIT(40), hpa = 0, at, i, have, size;
	ktime_t from;

	KUNIT_ASSERT_NOT_NULL(test, mem);
	for (have = 0; have < n; have++) {
		size = have == n - 1 ? 2 * P : P;
		if (mm_iommu_register_dev(f->mm, base + 2 * have * P, size, have * P, &mem[have]))
			break;
	}
	KUNIT_EXPECT_EQ(test, have, n);
	*hundredths = 0;
	rcu_read_lock();
	from = ktime_get();
	at = last ? n - 1 : 0;
	for (i = 0; i < PRICE_LOOKUPS && have == n; i++) {
		if (mm_iommu_translate(f->mm, base + 2 * at * P, &hpa) < (long)P || hpa != at * P)
			break;
		at = last ? at : (at + 7919) % n;
	}
	*hundredths = ktime_to_ns(ktime_sub(ktime_get(), from)) * 100 / PRICE_LOOKUPS;
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, i, PRICE_LOOKUPS);
	for (i = 0; i < have; i++)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem[i]), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
	kvfree(mem);
}

static void price(struct kunit *test)
{
	static const unsigned long among[] = { 10, 1000, 100000 };
	unsigned int i;
	s64 cost;

	/* It waits within accesses, and many look-ups in one RCU read side then take minutes. */
	if (IS_ENABLED(CONFIG_KCSAN))
		kunit_skip(test, "KCSAN's waits cost more than what is looked at");
	for (i = 0; i < ARRAY_SIZE(among); i++) {
		price_among(test, among[i], false, &cost);
		kunit_info(test, "bench region.translate.%lu %lld.%02lld\n", among[i],
			   cost / 100, cost % 100);
	}
	price_among(test, among[i - 1], true, &cost);
	kunit_info(test, "bench region.translate.largest %lld.%02lld\n", cost / 100, cost % 100);
}

/* ---- threads ---- */

#define THREADS		4
#define SLOTS		40
#define ROUNDS		400
#define MOST_TRIES	10000	/* jiffies: its holder may get no CPU for seconds */

struct crowd {
	struct mm_struct *mm;
	unsigned long ua;
	unsigned long hpa[SLOTS];
	atomic_t wrong, registered, refused, busy;
	atomic_t seed;
	atomic_t left;
	struct completion done;
};

#define crowd_check(c, cond)						\
do {									\
	if (!(cond) && atomic_inc_return(&(c)->wrong) <= 10)		\
		pr_err("mm_iommu: crowd: %s, line %d\n", #cond, __LINE__); \
} while (0)

static void crowd_lookup(struct crowd *c, unsigned int slot)
{
	unsigned long at = c->ua + 2 * slot * P, hpa = 0;
	long ret;

	ret = translate(c->mm, at, &hpa);
	crowd_check(c, ret == -EFAULT ||
		    (hpa == c->hpa[slot] && ret >= (long)P && ret <= (long)(2 * P)));
	ret = map_get(c->mm, at, P, PAGE_SHIFT, true, &hpa);
	crowd_check(c, ret == -EFAULT || ret == -ENXIO ||
		    (ret == (long)P && hpa == c->hpa[slot]));
	if (ret > 0) {
		if (slot % 4 == 0)
			usleep_range(20, 60);
		/* The reference holds it: whoever unregisters now, it is found. */
		crowd_check(c, translate(c->mm, at, &hpa) >= (long)P);
		crowd_check(c, hpa == c->hpa[slot]);
		crowd_check(c, map_put(c->mm, at, 1) == 0);
	}
}

static int crowd_thread(void *arg)
{
	struct crowd *c = arg;
	struct rnd_state rnd;
	unsigned int i, slot, tries;
	unsigned long size, hpa;
	struct mm_iommu_region *mem;
	long ret;

	prandom_seed_state(&rnd, atomic_inc_return(&c->seed));
	kthread_use_mm(c->mm);
	for (i = 0; i < ROUNDS; i++) {
		/* Often the same few. */
		slot = prandom_u32_state(&rnd) % (i % 4 ? 5 : SLOTS);
		size = prandom_u32_state(&rnd) % 8 ? P : 2 * P;
		ret = mm_iommu_register(c->mm, c->ua + 2 * slot * P, size, &mem);
		crowd_check(c, ret == 0 || ret == -EINVAL || ret == -ESTALE);
		if (ret)
			atomic_inc(&c->refused);
		else
			atomic_inc(&c->registered);
		crowd_lookup(c, prandom_u32_state(&rnd) % (i % 8 ? 5 : SLOTS));
		if (ret)
			continue;
		ret = map_get(c->mm, c->ua + 2 * slot * P, P, PAGE_SHIFT, i & 1, &hpa);
		crowd_check(c, ret == (long)P && hpa == c->hpa[slot]);
		/* Held over a while, so that others meet it. */
		if (i % 4 == 0)
			usleep_range(50, 150);
		cond_resched();
		crowd_lookup(c, slot);
		crowd_check(c, map_put(c->mm, c->ua + 2 * slot * P, 1) == 0);
		for (tries = 0; tries < MOST_TRIES; tries++) {
			ret = mm_iommu_unregister(c->mm, mem);
			if (ret != -EBUSY)
				break;
			atomic_inc(&c->busy);
			schedule_timeout_uninterruptible(1);
		}
		crowd_check(c, ret == 0);
		if (ret)
			break;
	}
	kthread_unuse_mm(c->mm);
	if (atomic_dec_and_test(&c->left))
		complete(&c->done);
	return 0;
}

static void threads(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct crowd *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	struct task_struct *t;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, c);
	c->mm = f->mm;
	c->ua = map_small(test, 2 * SLOTS);
	for (i = 0; i < SLOTS; i++)
		c->hpa[i] = oracle(test, c->ua + 2 * i * P);
	init_completion(&c->done);
	atomic_set(&c->left, THREADS + 1);
	for (i = 0; i < THREADS; i++) {
		t = kthread_run(crowd_thread, c, "mm_iommu_test/%u", i);
		if (IS_ERR(t)) {
			KUNIT_FAIL(test, "no thread");
			atomic_dec(&c->left);
		}
	}
	if (!atomic_dec_and_test(&c->left))
		wait_for_completion(&c->done);
	KUNIT_EXPECT_EQ(test, atomic_read(&c->wrong), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&c->registered) + atomic_read(&c->refused),
			THREADS * ROUNDS);
	KUNIT_EXPECT_GT(test, atomic_read(&c->registered), THREADS * ROUNDS / 4);
	kunit_info(test, "%d registered, %d refused, %d busy",
		   atomic_read(&c->registered), atomic_read(&c->refused),
		   atomic_read(&c->busy));
	for (i = 0; i < SLOTS; i++) {
		struct page *page = user_page(test, c->ua + 2 * i * P);

		mm_iommu_drain(f->mm);
		KUNIT_EXPECT_FALSE(test, folio_maybe_dma_pinned(page_folio(page)));
		put_page(page);
	}
}

/* Another mm, without any memory; for mmput() */
static struct mm_struct *mm_make(void)
{
	struct mm_struct *mm = mm_alloc();

	if (mm) {
		mm->task_size = TASK_SIZE;
		arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	}
	return mm;
}

/* As threads(), on several mms at once: their stores have nothing in common. */
#define MMS	3

static void threads_mms(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct crowd *c[MMS] = {};
	struct task_struct *t;
	unsigned int i, k;

	for (k = 0; k < MMS; k++) {
		c[k] = kunit_kzalloc(test, sizeof(*c[k]), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, c[k]);
		init_completion(&c[k]->done);
		atomic_set(&c[k]->seed, 100 * k);
		c[k]->mm = k ? mm_make() : f->mm;
		if (!c[k]->mm)
			break;
		if (k) {
			kthread_unuse_mm(f->mm);
			kthread_use_mm(c[k]->mm);
		}
		c[k]->ua = vm_mmap(NULL, 0, 2 * SLOTS * P, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, 0);
		crowd_check(c[k], !IS_ERR_VALUE(c[k]->ua));
		/* Nobody is to make huge pages of them in between. */
		set_vm_flags(test, c[k]->ua, VM_NOHUGEPAGE);
		for (i = 0; i < SLOTS; i++) {
			struct page *page;

			if (get_user_pages_fast(c[k]->ua + 2 * i * P, 1, FOLL_WRITE,
						&page) != 1) {
				crowd_check(c[k], false);
				continue;
			}
			c[k]->hpa[i] = page_to_phys(page);
			put_page(page);
		}
		if (k) {
			kthread_unuse_mm(c[k]->mm);
			kthread_use_mm(f->mm);
		}
	}
	KUNIT_EXPECT_EQ(test, k, MMS);
	for (k = 0; k < MMS && c[k] && c[k]->mm; k++) {
		atomic_set(&c[k]->left, 3);
		for (i = 0; i < 2; i++) {
			t = kthread_run(crowd_thread, c[k], "mm_iommu_test/%u.%u", k, i);
			if (IS_ERR(t)) {
				KUNIT_FAIL(test, "no thread");
				atomic_dec(&c[k]->left);
			}
		}
		if (atomic_dec_and_test(&c[k]->left))
			complete(&c[k]->done);
	}
	for (k = 0; k < MMS && c[k] && c[k]->mm; k++) {
		wait_for_completion(&c[k]->done);
		KUNIT_EXPECT_EQ(test, atomic_read(&c[k]->wrong), 0);
		KUNIT_EXPECT_GT(test, atomic_read(&c[k]->registered), ROUNDS / 2);
		KUNIT_EXPECT_EQ(test, mm_iommu_drain(c[k]->mm), 0);
		KUNIT_EXPECT_EQ(test, index_count(c[k]->mm), 0);
		KUNIT_EXPECT_EQ(test, c[k]->mm->locked_vm, 0UL);
	}
	for (k = 1; k < MMS && c[k] && c[k]->mm; k++)
		mmput(c[k]->mm);
}

/* ---- registration under way ---- */

/* A private mapping of a file whose page @at comes only when it is let go. */
struct stall {
	pgoff_t at;
	struct page *page;
	struct completion reached, go;
};

static vm_fault_t stall_fault(struct vm_fault *vmf)
{
	struct stall *s = vmf->vma->vm_private_data;

	if (vmf->pgoff == s->at) {
		complete(&s->reached);
		/* Killed: without a page gup looks for the signal. */
		if (wait_for_completion_killable(&s->go))
			return VM_FAULT_NOPAGE;
	}
	get_page(s->page);
	vmf->page = s->page;
	return 0;
}

static const struct vm_operations_struct stall_vm_ops = {
	.fault = stall_fault,
};

static int stall_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_private_data = file->private_data;
	vma->vm_ops = &stall_vm_ops;
	return 0;
}

static const struct file_operations stall_fops = {
	.mmap = stall_mmap,
};

static void stall_free_page(void *page)
{
	put_page(page);
}

static struct stall *map_stall(struct kunit *test, unsigned long pages,
			       unsigned long at, unsigned long *ua)
{
	struct stall *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct file *file;

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->at = at;
	init_completion(&s->reached);
	init_completion(&s->go);
	s->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, s->page);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, stall_free_page, s->page), 0);
	file = anon_inode_getfile("mm_iommu_test", &stall_fops, s, O_RDWR);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	*ua = kunit_vm_mmap(test, file, 0, pages * P, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE, 0);
	fput(file);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)*ua));
	return s;
}

/* A thread that registers once. */
struct registrant {
	struct mm_struct *mm;
	unsigned long ua, size;
	bool killed;		/* before it begins */
	struct mm_iommu_region *mem;
	int ret;
	struct task_struct *task;
	struct completion done;
};

static int registrant_thread(void *arg)
{
	struct registrant *r = arg;

	allow_signal(SIGKILL);
	kthread_use_mm(r->mm);
	if (r->killed)
		send_sig(SIGKILL, current, 1);
	r->ret = mm_iommu_register(r->mm, r->ua, r->size, &r->mem);
	kthread_unuse_mm(r->mm);
	complete(&r->done);
	return 0;
}

static void registrant_put(void *arg)
{
	put_task_struct(arg);
}

static struct registrant *registrant_start(struct kunit *test, unsigned long ua,
					   unsigned long size, bool killed)
{
	struct registrant *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	struct fixture *f = test->priv;

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->mm = f->mm;
	r->ua = ua;
	r->size = size;
	r->killed = killed;
	init_completion(&r->done);
	r->task = kthread_create(registrant_thread, r, "mm_iommu_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(r->task));
	get_task_struct(r->task);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, registrant_put, r->task), 0);
	wake_up_process(r->task);
	return r;
}

/* Everybody who meets a claim, while its owner is in the middle of pinning. */
static void expect_claimed(struct kunit *test, unsigned long ua, unsigned long pages)
{
	struct mm_iommu_region *other = NULL;
	struct fixture *f = test->priv;
	unsigned long hpa = 4711;
	long pins = pins_live();

	KUNIT_EXPECT_EQ(test, index_count(f->mm), 1L);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, pages);
	KUNIT_EXPECT_EQ(test, translate(f->mm, ua, &hpa), -EFAULT);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), -ENXIO);
	KUNIT_EXPECT_NE(test, map_put(f->mm, ua, 1), 0);
	KUNIT_EXPECT_EQ(test, hpa, 4711UL);
	/* Overlaps are refused now, not when the owner is done. */
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, P, &other), -EINVAL);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua + (pages - 1) * P, 2 * P, &other),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, mm_iommu_register_dev(f->mm, ua, pages * P, 0, &other),
			-EINVAL);
	KUNIT_EXPECT_NULL(test, other);
	KUNIT_EXPECT_EQ(test, pins_live(), pins);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, pages);
}

/* @r has met a claim, and waits for what comes of it. */
static void expect_waiter(struct kunit *test, struct registrant *r)
{
	struct fixture *f = test->priv;
	struct mm_iommu_store *store = mm_iommu_store(f->mm);
	unsigned long end = jiffies + 60 * HZ;

	while (!wq_has_sleeper(&store->wait) && !completion_done(&r->done) &&
	       time_before(jiffies, end))
		schedule_timeout_uninterruptible(1);
	KUNIT_EXPECT_TRUE(test, wq_has_sleeper(&store->wait));
	KUNIT_EXPECT_FALSE(test, completion_done(&r->done));
}

/* Two threads register the same: the second waits for the first, and shares. */
static void claim_shared(struct kunit *test)
{
	struct registrant *first, *second;
	struct fixture *f = test->priv;
	unsigned long ua;
	struct stall *s = map_stall(test, 8, 5, &ua);

	first = registrant_start(test, ua, 8 * P, false);
	wait_for_completion(&s->reached);
	expect_claimed(test, ua, 8);
	second = registrant_start(test, ua, 8 * P, false);
	expect_waiter(test, second);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 8UL);
	complete_all(&s->go);
	wait_for_completion(&first->done);
	wait_for_completion(&second->done);
	KUNIT_EXPECT_EQ(test, first->ret, 0);
	KUNIT_EXPECT_EQ(test, second->ret, 0);
	KUNIT_EXPECT_PTR_EQ(test, second->mem, first->mem);
	KUNIT_ASSERT_NOT_NULL(test, first->mem);
	KUNIT_EXPECT_EQ(test, first->mem->used, 2UL);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + 8);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 8UL);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, first->mem), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, first->mem), 0);
}

/* The first fails: the second tries for itself, with the same answer here. */
static void claim_failed(struct kunit *test)
{
	struct registrant *first, *second;
	unsigned long ua;
	struct stall *s = map_stall(test, 8, 5, &ua);

	KUNIT_ASSERT_EQ(test, vm_munmap(ua + 7 * P, P), 0);
	first = registrant_start(test, ua, 8 * P, false);
	wait_for_completion(&s->reached);
	second = registrant_start(test, ua, 8 * P, false);
	expect_waiter(test, second);
	complete_all(&s->go);
	wait_for_completion(&first->done);
	wait_for_completion(&second->done);
	KUNIT_EXPECT_EQ(test, first->ret, -EFAULT);
	KUNIT_EXPECT_EQ(test, second->ret, -EFAULT);
	expect_clean(test);
}

/* Who waits can be killed, and the owner of the claim does not mind. */
static void claim_wait_killed(struct kunit *test)
{
	struct registrant *first, *second;
	struct fixture *f = test->priv;
	unsigned long ua;
	struct stall *s = map_stall(test, 8, 5, &ua);

	first = registrant_start(test, ua, 8 * P, false);
	wait_for_completion(&s->reached);
	second = registrant_start(test, ua, 8 * P, false);
	expect_waiter(test, second);
	send_sig(SIGKILL, second->task, 1);
	wait_for_completion(&second->done);
	KUNIT_EXPECT_EQ(test, second->ret, -EINTR);
	expect_claimed(test, ua, 8);
	complete_all(&s->go);
	wait_for_completion(&first->done);
	KUNIT_ASSERT_EQ(test, first->ret, 0);
	KUNIT_EXPECT_EQ(test, first->mem->used, 1UL);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, first->mem), 0);
}

/* How far a registration of three batches has got when it is killed */
static const struct killed_case {
	const char *name;
	unsigned long page;
} killed_cases[] = {
	{ "first page", 0 },
	{ "second page", 1 },
	{ "end of a batch", BATCH_PAGES - 1 },
	{ "start of a batch", BATCH_PAGES },
	{ "in a batch", BATCH_PAGES + 77 },
	{ "start of the last batch", 2 * BATCH_PAGES },
	{ "last page", 3 * BATCH_PAGES - 1 },
};

KUNIT_ARRAY_PARAM_DESC(killed, killed_cases, name);

/* Killed while it waits for a page, with those before it pinned: it pins none after that. */
static void register_killed(struct kunit *test)
{
	const struct killed_case *c = test->param_value;
	const unsigned long pages = 3 * BATCH_PAGES;
	struct fixture *f = test->priv;
	struct mm_iommu_region *mem;
	struct registrant *r;
	unsigned long ua, hpa;
	struct stall *s = map_stall(test, pages, c->page, &ua);
	long ever;

	r = registrant_start(test, ua, pages * P, false);
	wait_for_completion(&s->reached);
	KUNIT_EXPECT_GE(test, pins_live(), f->pins + (long)(c->page - min(c->page, BATCH_PAGES)));
	KUNIT_EXPECT_LE(test, pins_live(), f->pins + (long)c->page);
	ever = pins_read(false);
	send_sig(SIGKILL, r->task, 1);
	if (!wait_for_completion_timeout(&r->done, 30 * HZ)) {
		KUNIT_FAIL(test, "killed, and goes on");
		complete_all(&s->go);
		wait_for_completion(&r->done);
	}
	KUNIT_EXPECT_EQ(test, r->ret, -EINTR);
	KUNIT_EXPECT_EQ(test, pins_read(false), ever);
	expect_clean(test);
	KUNIT_EXPECT_EQ(test, translate(f->mm, ua, &hpa), -EFAULT);
	/* What is left is good for another try. */
	complete_all(&s->go);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, pages * P, &mem), 0);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + (long)pages);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

/* Where all pages are there gup looks for no signal: one batch at most is pinned. */
static void register_killed_before(struct kunit *test)
{
	const unsigned long pages = 3 * BATCH_PAGES;
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, pages);
	struct registrant *r;
	long ever = pins_read(false);

	r = registrant_start(test, ua, pages * P, true);
	wait_for_completion(&r->done);
	KUNIT_EXPECT_EQ(test, r->ret, -EINTR);
	KUNIT_EXPECT_LE(test, pins_read(false), ever + (long)BATCH_PAGES);
	if (!r->ret)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, r->mem), 0);
	expect_clean(test);
}

/* ---- the end of a region ---- */

/* locked_vm is given back when the call returns, not when the worker gets there. */
static void uncharged_at_once(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 64), i;
	struct mm_iommu_region *mem;

	for (i = 0; i < 50; i++) {
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 64 * P, &mem), 0);
		KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 64UL);
		KUNIT_ASSERT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
		KUNIT_ASSERT_EQ(test, f->mm->locked_vm, 0UL);
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 64 * P, &mem), 0);
		KUNIT_ASSERT_EQ(test, mm_iommu_unregister_last(f->mm, mem), 0);
		KUNIT_ASSERT_EQ(test, f->mm->locked_vm, 0UL);
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 64 * P, &mem), 0);
		mm_iommu_abandon(f->mm, mem);
		KUNIT_ASSERT_EQ(test, f->mm->locked_vm, 0UL);
	}
}

/*
 * Holds up RCU, and so the worker, or else a lock, until @task waits or all is over, for
 * seconds at most.
 */
struct holdup {
	struct task_struct *task;
	spinlock_t *lock;	/* NULL: RCU */
	bool over, seen_over, waited;
	long pins;
	struct completion held, done;
};

static int holdup_thread(void *arg)
{
	struct holdup *h = arg;
	unsigned int us;

	if (h->lock)
		spin_lock(h->lock);
	else
		rcu_read_lock();
	complete(&h->held);
	for (us = 0; us < 5 * USEC_PER_SEC && !h->seen_over && !h->waited; us += 5) {
		h->waited = READ_ONCE(h->task->__state) == TASK_KILLABLE;
		h->seen_over = READ_ONCE(h->over);
		h->pins = pins_live();
		udelay(5);
	}
	if (h->lock)
		spin_unlock(h->lock);
	else
		rcu_read_unlock();
	complete(&h->done);
	return 0;
}

/* @lock: NULL for RCU */
static struct holdup *holdup_start(struct kunit *test, spinlock_t *lock)
{
	struct holdup *h = kunit_kzalloc(test, sizeof(*h), GFP_KERNEL);
	struct task_struct *t;

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU can't both hold up RCU and register");
	KUNIT_ASSERT_NOT_NULL(test, h);
	h->task = current;
	h->lock = lock;
	init_completion(&h->held);
	init_completion(&h->done);
	t = kthread_run(holdup_thread, h, "mm_iommu_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(t));
	/* Busy waiting: to sleep would be mistaken for the registration's wait. */
	while (!completion_done(&h->held))
		cond_resched();
	return h;
}

static void holdup_end(struct holdup *h)
{
	WRITE_ONCE(h->over, true);
	wait_for_completion(&h->done);
}

/* What is pinned and not charged any more is no more than the limit: a registration waits. */
static void uncharged_bounded(struct kunit *test)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT, ua;
	struct fixture *f = test->priv;
	struct mm_iommu_region *mem;
	const struct cred *old;
	struct holdup *h;
	unsigned int i;

	if (limit < 2 || limit > 8192)
		kunit_skip(test, "RLIMIT_MEMLOCK is %lu pages", limit);
	ua = map_small(test, 3 * limit);
	old = ipc_lock_drop(test);
	h = holdup_start(test, NULL);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua + i * limit * P, limit * P,
							&mem), 0);
		KUNIT_EXPECT_EQ(test, f->mm->locked_vm, limit);
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	}
	holdup_end(h);
	ipc_lock_back(old);
	KUNIT_EXPECT_TRUE(test, h->waited);
	KUNIT_EXPECT_EQ(test, h->pins, f->pins + 2 * (long)limit);
}

/* Registrations that fail wait for no grace period, expedited or not: none can end here. */
static void failed_costs_no_grace_period(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 4), i;
	struct mm_iommu_region *mem;
	struct holdup *h;

	KUNIT_ASSERT_EQ(test, vm_munmap(ua + 3 * P, P), 0);
	h = holdup_start(test, NULL);
	for (i = 0; i < 100; i++)
		KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), -EFAULT);
	holdup_end(h);
	KUNIT_EXPECT_TRUE(test, h->seen_over);
	KUNIT_EXPECT_EQ(test, h->pins, f->pins);
}

static void flush_everybodys(void)
{
	__flush_workqueue(system_unbound_wq);
	__flush_workqueue(system_wq);
}

/*
 * The worker waits for a grace period, and for locks of pages. Other work of the kernel does
 * not wait for that: what is queued for everybody ends while none of ours can.
 */
static void own_workqueue(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 4);
	struct mm_iommu_region *mem;
	struct holdup *h;

	/* The boot may have queued what waits for a grace period itself, or comes after one. */
	flush_everybodys();
	rcu_barrier();
	flush_everybodys();
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), 0);
	h = holdup_start(test, NULL);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	flush_everybodys();
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + 4);
	holdup_end(h);
	KUNIT_EXPECT_TRUE(test, h->seen_over);
	KUNIT_EXPECT_EQ(test, h->pins, f->pins + 4);
}

static void mm_put(void *mm)
{
	mmput(mm);
}

/*
 * Nothing of a process waits for another's: regions come, go and are abandoned while the
 * other's store is locked.
 */
static void stores_apart(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 4), hpa, i;
	struct mm_struct *other = mm_make();
	struct mm_iommu_region *mem;
	struct holdup *h;

	KUNIT_ASSERT_NOT_NULL(test, other);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, mm_put, other), 0);
	kthread_unuse_mm(f->mm);
	kthread_use_mm(other);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(other, P, P, &mem), -EFAULT);
	kthread_unuse_mm(other);
	kthread_use_mm(f->mm);
	KUNIT_ASSERT_NOT_NULL(test, mm_iommu_store(other));

	h = holdup_start(test, &mm_iommu_store(other)->lock);
	for (i = 0; i < 20; i++) {
		KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), 0);
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
		KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), 0);
		KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), (long)P);
		mm_iommu_abandon(f->mm, mem);
		KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), 0);
		KUNIT_EXPECT_EQ(test, index_count(f->mm), 0L);
	}
	holdup_end(h);
	KUNIT_EXPECT_TRUE(test, h->seen_over);
}

/* A registration that nobody else has can be replaced by a new one, another can't. */
static void unregister_last(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 2), hpa, old;
	struct mm_iommu_region *mem, *again;

	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 2 * P, &mem), 0);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 2 * P, &again), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister_last(f->mm, mem), -EBUSY);
	KUNIT_EXPECT_EQ(test, mem->used, 2UL);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &old), (long)P);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister_last(f->mm, mem), -EBUSY);
	KUNIT_EXPECT_EQ(test, mem->used, 1UL);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister_last(f->mm, mem), 0);

	/* Other memory at the same address, while the pins still hold the old pages. */
	KUNIT_ASSERT_EQ(test, vm_munmap(ua, 2 * P), 0);
	KUNIT_ASSERT_EQ(test, vm_mmap(NULL, ua, 2 * P, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0), ua);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 2 * P, &mem), 0);
	KUNIT_EXPECT_GT(test, translate(f->mm, ua, &hpa), 0L);
	KUNIT_EXPECT_EQ(test, hpa, oracle(test, ua));
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

/* A thread that ends a registration. */
struct leave {
	struct mm_struct *mm;
	struct mm_iommu_region *mem;
	bool own;		/* a thread of the process */
	struct completion begun, done;
};

static int leave_thread(void *arg)
{
	struct leave *l = arg;

	allow_signal(SIGKILL);
	if (l->own)
		kthread_use_mm(l->mm);
	complete(&l->begun);
	mm_iommu_abandon(l->mm, l->mem);
	if (l->own)
		kthread_unuse_mm(l->mm);
	complete_all(&l->done);
	return 0;
}

/* Does the worker that is to uncharge find mmap_lock taken, and go, and come less often? */
static bool uncharge_waits_outside(struct mm_struct *mm)
{
	struct mm_iommu_store *store = mm_iommu_store(mm);
	unsigned long end = jiffies + 30 * HZ;
	bool outside = false;

	/* The worker changes it, to what is seen here sooner or later. */
	while (!outside || data_race(store->uncharge_delay) <= HZ / 10) {
		if (time_after(jiffies, end))
			return false;
		usleep_range(100, 1000);
		outside |= timer_pending(&store->uncharge_work.timer);
	}
	return true;
}

/*
 * A page fault of the process holds mmap_lock, for as long as a file system likes. Who is not of
 * the process does not wait for that, its own threads do until they are killed. In both cases
 * a worker uncharges later, or who charges next. The worker does not wait for it either.
 */
static void uncharged_later(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 4);
	struct task_struct *t;
	struct leave l;

	for (l.own = false;; l.own = true) {
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &l.mem), 0);
		l.mm = f->mm;
		init_completion(&l.begun);
		init_completion(&l.done);
		mmap_read_lock(f->mm);
		t = kthread_run(leave_thread, &l, "mm_iommu_test");
		if (IS_ERR(t)) {
			mmap_read_unlock(f->mm);
			KUNIT_FAIL_AND_ABORT(test, "no thread");
		}
		get_task_struct(t);
		wait_for_completion(&l.begun);
		if (l.own)
			send_sig(SIGKILL, t, 1);
		KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&l.done, 10 * HZ), 0UL);
		KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 4UL);
		KUNIT_EXPECT_TRUE(test, uncharge_waits_outside(f->mm));
		mmap_read_unlock(f->mm);
		wait_for_completion(&l.done);
		put_task_struct(t);
		KUNIT_EXPECT_EQ(test, mm_iommu_charge(f->mm, 1), 0);
		KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 1UL);
		mm_iommu_uncharge(f->mm, 1);
		expect_clean(test);
		if (l.own)
			break;
	}
}

/* A region that its owner leaves goes with the last TCE. */
static void orphan(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 4), hpa = 0;
	struct mm_iommu_region *mem, *other;
	bool real = !no_real_mode();
	int holders = atomic_read(&f->mm->mm_count);

	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), 0);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), 0);
	KUNIT_ASSERT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), (long)P);
	mm_iommu_abandon(f->mm, mem);
	KUNIT_EXPECT_EQ(test, mem->used, 1UL);
	KUNIT_EXPECT_FALSE(test, mem->orphan);
	mm_iommu_abandon(f->mm, mem);
	KUNIT_ASSERT_TRUE(test, mem->orphan);

	/* Also when the worker has looked: pinned, charged, found, mapped; not registered */
	KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
	KUNIT_EXPECT_EQ(test, index_count(f->mm), 1L);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins + 4);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 4UL);
	KUNIT_EXPECT_GT(test, translate(f->mm, ua, &hpa), 0L);
	KUNIT_EXPECT_EQ(test, hpa, oracle(test, ua));
	KUNIT_EXPECT_EQ(test, map_get(f->mm, ua + P, P, PAGE_SHIFT, true, &hpa), (long)P);
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &other), -EBUSY);
	KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, ua, P, &other), -EINVAL);

	/* Who drops the last reference must be able to queue work. */
	if (real) {
		KUNIT_EXPECT_EQ(test, call_real(mm_iommu_translate, (unsigned long)f->mm, ua,
						(unsigned long)&hpa, 0, 0, 0), -EFAULT);
		KUNIT_EXPECT_EQ(test, call_real(find_put, (unsigned long)f->mm, ua,
						1, 0, 0, 0), -ENOENT);
	}
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), 0);
	KUNIT_EXPECT_EQ(test, index_count(f->mm), 0L);
	expect_clean(test);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, 4 * P, &mem), 0);

	/* With the MMU off a last drop buries nothing; the next one does. */
	KUNIT_ASSERT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), (long)P);
	mm_iommu_abandon(f->mm, mem);
	KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
	if (real) {
		KUNIT_EXPECT_EQ(test, call_real(mm_iommu_put, (unsigned long)mem, 1,
						0, 0, 0, 0), 0L);
		KUNIT_EXPECT_EQ(test, index_count(f->mm), 1L);
		KUNIT_EXPECT_EQ(test, map_get(f->mm, ua, P, PAGE_SHIFT, true, &hpa), (long)P);
	}
	KUNIT_EXPECT_EQ(test, map_put(f->mm, ua, 1), 0);
	KUNIT_EXPECT_EQ(test, index_count(f->mm), 0L);
	expect_clean(test);
	/* Nor does anything keep the mm. */
	KUNIT_EXPECT_EQ(test, atomic_read(&f->mm->mm_count), holders);
}

struct leaver {
	struct mm_struct *mm;
	unsigned long ua;
	unsigned int round, rounds;
	atomic_t wrong;
	struct completion done;
};

static int leaver_thread(void *arg)
{
	struct leaver *l = arg;
	unsigned int i;

	for (i = 1; i <= l->rounds; i++) {
		while (READ_ONCE(l->round) != i)
			cond_resched();
		if (i & 1)
			udelay(i % 16);
		if (map_put(l->mm, l->ua, 1))
			atomic_inc(&l->wrong);
	}
	complete(&l->done);
	return 0;
}

/* The owner leaves while the last TCE goes: whoever comes last, the region goes. */
static void orphan_race(struct kunit *test)
{
	struct leaver *l = kunit_kzalloc(test, sizeof(*l), GFP_KERNEL);
	struct fixture *f = test->priv;
	struct mm_iommu_region *mem;
	struct task_struct *t;
	unsigned int i, tries = 0;
	unsigned long hpa;

	KUNIT_ASSERT_NOT_NULL(test, l);
	l->mm = f->mm;
	l->ua = map_small(test, 1);
	l->rounds = 100;
	init_completion(&l->done);
	t = kthread_run(leaver_thread, l, "mm_iommu_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(t));
	for (i = 1; i <= l->rounds; i++) {
		KUNIT_EXPECT_EQ(test, mm_iommu_register(f->mm, l->ua, P, &mem), 0);
		KUNIT_EXPECT_EQ(test, map_get(f->mm, l->ua, P, PAGE_SHIFT, true, &hpa), (long)P);
		WRITE_ONCE(l->round, i);
		if (!(i & 1))
			udelay(i % 16);
		mm_iommu_abandon(f->mm, mem);
		/* The thread drops its reference soon, and then nothing is left. */
		for (; index_count(f->mm) && tries < MOST_TRIES; tries++) {
			KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
			schedule_timeout_uninterruptible(1);
		}
		KUNIT_EXPECT_EQ(test, index_count(f->mm), 0L);
		KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
	}
	wait_for_completion(&l->done);
	KUNIT_EXPECT_EQ(test, atomic_read(&l->wrong), 0);
}

/* ---- debugfs ---- */

static void listing_close(void *file)
{
	fput(file);
	flush_delayed_fput();
}

static void listing_unmount(void *mnt)
{
	kern_unmount(mnt);
}

/* The file of debugfs, with room for some lines. Nobody has mounted it yet. */
static struct seq_file *listing_open(struct kunit *test)
{
	struct file_system_type *type = get_fs_type("debugfs");
	struct vfsmount *mnt;
	struct seq_file *m;
	struct file *file;

	if (!type)
		kunit_skip(test, "no debugfs");
	mnt = kern_mount(type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(mnt));
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, listing_unmount, mnt), 0);
	file = file_open_root_mnt(mnt, "powerpc/mm_iommu", O_RDONLY, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, listing_close, file), 0);
	m = file->private_data;
	/* Freed when it is closed. */
	m->buf = kvzalloc(P, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->buf);
	m->size = P;
	return m;
}

static void listing_show(struct kunit *test, struct seq_file *m)
{
	m->count = 0;
	KUNIT_EXPECT_EQ(test, m->op->show(m, NULL), 0);
	m->buf[min(m->count, m->size - 1)] = 0;
}

/* Where @line is, which is there once */
static unsigned long listing_find(struct kunit *test, struct seq_file *m, const char *line)
{
	const char *at = strstr(m->buf, line);

	KUNIT_EXPECT_NOT_NULL_MSG(test, at, "no '%s' in\n%s", line, m->buf);
	if (!at)
		return 0;
	KUNIT_EXPECT_NULL_MSG(test, strstr(at + 1, line), "twice '%s' in\n%s", line, m->buf);
	return at - m->buf;
}

#define LISTING_SECONDS	20	/* at most */

/*
 * Takes a store's lock again and again, until it sees that a line of the list is half written:
 * of those between @from and @to, which are the store's.
 */
struct listing_rival {
	spinlock_t *lock;	/* the store's */
	struct seq_file *m;
	unsigned long from, to;
	bool over, seen;
	struct completion done;
};

static bool listing_half_line(struct listing_rival *r)
{
	/* The list is written concurrently, with the same bytes each time. */
	unsigned long count = data_race(READ_ONCE(r->m->count));

	if (count <= r->from || count >= r->to)
		return false;
	/* Likewise */
	return data_race(READ_ONCE(r->m->buf[count - 1])) != '\n';
}

static int listing_rival_thread(void *arg)
{
	struct listing_rival *r = arg;

	while (!READ_ONCE(r->over) && !r->seen) {
		spin_lock(r->lock);
		WRITE_ONCE(r->seen, listing_half_line(r));
		spin_unlock(r->lock);
		cond_resched();
	}
	complete(&r->done);
	return 0;
}

/* Those who register and map do not wait for a list that is being written. */
static void listing_unlocked(struct kunit *test)
{
	struct listing_rival *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	unsigned long ua = map_small(test, 16), at[8], end, i;
	struct seq_file *m = listing_open(test);
	struct mm_iommu_region *mem[8];
	struct fixture *f = test->priv;
	struct task_struct *t;
	char line[64];

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU can't both list and wait for the lock");
	KUNIT_ASSERT_NOT_NULL(test, r);
	for (i = 0; i < ARRAY_SIZE(mem); i++)
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + 2 * i * P, P, &mem[i]), 0);
	listing_show(test, m);
	for (i = 0; i < ARRAY_SIZE(mem); i++) {
		snprintf(line, sizeof(line), " 0x%lx 0x%lx 1 %lu 1 1 %lu\n", ua + 2 * i * P, P,
			 mem[i]->contig, mem[i]->metadata);
		at[i] = listing_find(test, m, line);
		KUNIT_EXPECT_GT(test, at[i], i ? at[i - 1] : 0);
	}

	r->lock = &mm_iommu_store(f->mm)->lock;
	r->m = m;
	r->from = at[0];
	r->to = at[i - 1];
	init_completion(&r->done);
	t = kthread_run(listing_rival_thread, r, "mm_iommu_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(t));
	end = jiffies + LISTING_SECONDS * HZ;
	while (!READ_ONCE(r->seen) && time_before(jiffies, end))
		listing_show(test, m);
	WRITE_ONCE(r->over, true);
	wait_for_completion(&r->done);
	KUNIT_EXPECT_TRUE(test, r->seen);
	for (i = 0; i < ARRAY_SIZE(mem); i++)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem[i]), 0);
}

/* What the registering thread is still writing is not read: a batch has been recorded here. */
static void listing_claimed(struct kunit *test)
{
	const unsigned long pages = 2 * BATCH_PAGES;
	struct seq_file *m = listing_open(test);
	struct fixture *f = test->priv;
	struct mm_iommu_region *claim;
	struct registrant *r;
	unsigned long ua;
	struct stall *s = map_stall(test, pages, BATCH_PAGES + 77, &ua);
	char line[80];

	r = registrant_start(test, ua, pages * P, false);
	wait_for_completion(&s->reached);
	scoped_guard(rcu) {
		claim = mm_iommu_find_range(mm_iommu_store(f->mm), ua, ua + P);
		/* The thread that writes it waits. */
		KUNIT_EXPECT_GT(test, data_race(claim->metadata), sizeof(*claim));
	}
	listing_show(test, m);
	complete_all(&s->go);
	wait_for_completion(&r->done);
	KUNIT_ASSERT_EQ(test, r->ret, 0);
	snprintf(line, sizeof(line), " 0x%lx 0x%lx %lu 0 1 0 0 claimed\n", ua, pages * P, pages);
	listing_find(test, m, line);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, r->mem), 0);
}

/* ---- real mode ---- */

static unsigned long real_msr(void)
{
	return mfmsr();
}

static void real_range(struct kunit *test, unsigned long ua, unsigned long pages)
{
	struct fixture *f = test->priv;
	unsigned long mm = (unsigned long)f->mm, i, at, hpa, want;
	static const unsigned int shifts[] = { 12, 16, 21, 24 };
	struct mm_iommu_region *mem;
	long len, ret, n;
	unsigned int s;

	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, pages * P, &mem), 0);
	for (i = 0; i < pages; i++) {
		at = ua + i * P + (i & 1) * (P / 2 + 0x238);
		len = translate(f->mm, at, &want);
		KUNIT_ASSERT_EQ(test, want, oracle(test, at));
		hpa = 0;
		ret = call_real(mm_iommu_translate, mm, at, (unsigned long)&hpa,
				0, 0, 0);
		KUNIT_ASSERT_EQ(test, ret, len);
		KUNIT_ASSERT_EQ(test, hpa, want);

		at = ua + i * P;
		for (s = 0; s < ARRAY_SIZE(shifts); s++) {
			len = map_get(f->mm, at, ULONG_MAX, shifts[s], false,
				      &want);
			n = len >> shifts[s];
			if (len > 0)
				KUNIT_ASSERT_EQ(test, map_put(f->mm, at, n), 0);
			hpa = 0;
			ret = call_real(find_get, mm, at, ULONG_MAX,
					shifts[s], true, (unsigned long)&hpa);
			KUNIT_ASSERT_EQ(test, ret, len);
			if (ret < 0)
				continue;
			KUNIT_ASSERT_EQ(test, hpa, want);
			KUNIT_ASSERT_EQ(test, (long)atomic64_read(&mem->mapped), 1 + n);
			ret = call_real(find_put, mm, at, n + 1, 0, 0, 0);
			KUNIT_ASSERT_EQ(test, ret, -ERANGE);
			KUNIT_ASSERT_EQ(test, (long)atomic64_read(&mem->mapped), 1 + n);
			ret = call_real(find_put, mm, at, n, 0, 0, 0);
			KUNIT_ASSERT_EQ(test, ret, 0);
			KUNIT_ASSERT_EQ(test, (long)atomic64_read(&mem->mapped), 1);
		}
	}
	KUNIT_EXPECT_EQ(test, call_real(mm_iommu_translate, mm, ua + pages * P,
					(unsigned long)&hpa, 0, 0, 0), -EFAULT);
	KUNIT_EXPECT_EQ(test, call_real(mm_iommu_translate, mm, ua - 1,
					(unsigned long)&hpa, 0, 0, 0), -EFAULT);
	KUNIT_EXPECT_EQ(test, call_real(find_put, mm, ua - 1, 1, 0, 0, 0),
			-ENOENT);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	KUNIT_EXPECT_EQ(test, call_real(find_get, mm, ua, P, PAGE_SHIFT, 0,
					(unsigned long)&hpa), -EFAULT);
}

/* Is the MMU really off, and on again? */
static void real_mode_is_real(struct kunit *test)
{
	unsigned long msr;

	need_real_mode(test);
	msr = call_real(real_msr, 0, 0, 0, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, msr & (MSR_IR | MSR_DR | MSR_EE | MSR_RI), 0UL);
	KUNIT_EXPECT_EQ(test, msr & MSR_HV, MSR_HV);
	KUNIT_EXPECT_EQ(test, mfmsr() & (MSR_IR | MSR_DR | MSR_RI),
			(unsigned long)(MSR_IR | MSR_DR | MSR_RI));
}

/* Metadata of one word, of a leaf, of both. */
static void real_mode(struct kunit *test)
{
	need_real_mode(test);
	real_range(test, map_small(test, 1), 1);
	real_range(test, map_scattered(test, CHUNK_PAGES + 40) + 3 * P,
		   CHUNK_PAGES + 20);
}

static void real_mode_huge(struct kunit *test)
{
	need_real_mode(test);
	real_range(test, map_huge(test, 2), 2 * CHUNK_PAGES);
}

/* Words at the end of the first block, and in the second. */
static void real_mode_blocks(struct kunit *test)
{
	unsigned long chunks, ua, at, want, hpa, first[3], i;
	struct fixture *f = test->priv;
	struct mm_iommu_region *mem;
	long len;

	need_real_mode(test);
	ua = map_blocks(test, &chunks, first);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, chunks << PMD_SHIFT, &mem), 0);
	for (i = 0; i < chunks; i += i == 2 ? MM_IOMMU_BLOCK_WORDS - 5 : 1) {
		at = ua + (i << PMD_SHIFT) + (i % CHUNK_PAGES) * P + 16;
		len = translate(f->mm, at, &want);
		hpa = 0;
		KUNIT_ASSERT_EQ(test, call_real(mm_iommu_translate, (unsigned long)f->mm,
						at, (unsigned long)&hpa, 0, 0, 0), len);
		KUNIT_ASSERT_EQ(test, hpa, want);
		KUNIT_ASSERT_EQ(test, hpa, first[i % 3] + (i % CHUNK_PAGES) * P + 16);
	}
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
}

/* A writable mapping made in real mode dirties the page. */
static void real_mode_dirty(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long ua = map_small(test, 2), hpa;
	struct page *page;
	struct mm_iommu_region *mem;

	need_real_mode(test);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua, P, &mem), 0);
	page = user_page(test, ua);
	test_clear_dirty(page);
	KUNIT_EXPECT_EQ(test, call_real(find_get, (unsigned long)f->mm, ua,
					P, PAGE_SHIFT, true, (unsigned long)&hpa), (long)P);
	KUNIT_EXPECT_EQ(test, call_real(find_put, (unsigned long)f->mm, ua,
					1, 0, 0, 0), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
	KUNIT_EXPECT_TRUE(test, PageDirty(page));
	put_page(page);
}

/* Many regions: the index's search with the MMU off. */
static void real_mode_many(struct kunit *test)
{
	struct fixture *f = test->priv;
	const unsigned int n = 150;
	unsigned long ua = map_small(test, 2 * n), hpa, i;
	struct mm_iommu_region **mem = kunit_kcalloc(test, n, sizeof(*mem), GFP_KERNEL);

	need_real_mode(test);
	KUNIT_ASSERT_NOT_NULL(test, mem);
	for (i = 0; i < n; i++)
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + 2 * i * P, P,
							&mem[i]), 0);
	for (i = 0; i < 2 * n; i++) {
		hpa = 0;
		KUNIT_EXPECT_EQ(test, call_real(mm_iommu_translate,
						(unsigned long)f->mm, ua + i * P + 16,
						(unsigned long)&hpa, 0, 0, 0),
				i & 1 ? -EFAULT : (long)P - 16);
		KUNIT_EXPECT_EQ(test, hpa, i & 1 ? 0 : oracle(test, ua + i * P) + 16);
	}
	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem[i]), 0);
}

/* ---- struct pages in real mode ---- */

/* bool results leave the upper bits of a register undefined. */
static bool call_bool(call_t call, void *fn, struct page *page, int refs)
{
	return call(fn, (unsigned long)page, refs, 0, 0, 0, 0) & 0xff;
}

static void check_put_page(struct kunit *test, struct page *page,
			   struct page *as, call_t call)
{
	KUNIT_ASSERT_EQ(test, page_ref_count(page), 1);
	KUNIT_EXPECT_FALSE(test, call_bool(call, put_page_unless_one, as, 1));
	KUNIT_EXPECT_EQ(test, page_ref_count(page), 1);
	get_page(page);
	get_page(page);
	KUNIT_EXPECT_TRUE(test, call_bool(call, put_page_unless_one, as, 1));
	KUNIT_EXPECT_EQ(test, page_ref_count(page), 2);
	KUNIT_EXPECT_TRUE(test, call_bool(call, put_page_unless_one, as, 1));
	KUNIT_EXPECT_FALSE(test, call_bool(call, put_page_unless_one, as, 1));
	KUNIT_EXPECT_EQ(test, page_ref_count(page), 1);
}

/* Pin the user page twice, drop one pin, then all but the last use. */
static void check_unpin(struct kunit *test, unsigned long ua, bool huge, call_t call)
{
	struct fixture *f = test->priv;
	struct page *page, *head, *as;
	long pins = pins_live();
	int i, refs;

	lru_add_drain_all();
	page = user_page(test, ua);
	head = compound_head(page);
	put_page(page);
	refs = page_ref_count(head);
	as = call == call_virt ? head :
		(struct page *)call(realmode_pfn_to_page, page_to_pfn(head),
				    0, 0, 0, 0, 0);
	KUNIT_ASSERT_NOT_NULL(test, as);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, pin_user_pages_fast(ua, 1, FOLL_WRITE, &page), 1);
	KUNIT_EXPECT_EQ(test, pins_live(), pins + 2);

	KUNIT_EXPECT_TRUE(test, call_bool(call, unpin_user_page_unless_last, as, 0));
	KUNIT_EXPECT_EQ(test, pins_live(), pins + 1);
	KUNIT_EXPECT_EQ(test, page_ref_count(head),
			refs + (huge ? 1 : GUP_PIN_COUNTING_BIAS));
	if (huge)
		KUNIT_EXPECT_EQ(test, atomic_read(&page_folio(head)->_pincount), 1);
	KUNIT_EXPECT_TRUE(test, folio_maybe_dma_pinned(page_folio(head)));

	/* The mapping goes, the pin is all that holds the page. */
	KUNIT_ASSERT_EQ(test, vm_munmap(ALIGN_DOWN(ua, huge ? BIT(PMD_SHIFT) : P),
					huge ? BIT(PMD_SHIFT) : P), 0);
	lru_add_drain_all();
	KUNIT_EXPECT_EQ(test, page_ref_count(head), huge ? 1 : GUP_PIN_COUNTING_BIAS);
	KUNIT_EXPECT_FALSE(test, call_bool(call, unpin_user_page_unless_last, as, 0));
	KUNIT_EXPECT_EQ(test, page_ref_count(head), huge ? 1 : GUP_PIN_COUNTING_BIAS);
	KUNIT_EXPECT_EQ(test, pins_live(), pins + 1);
	if (huge)
		KUNIT_EXPECT_EQ(test, atomic_read(&page_folio(head)->_pincount), 1);

	/* One more reference than the pin: now it may go. */
	get_page(head);
	KUNIT_EXPECT_TRUE(test, call_bool(call, unpin_user_page_unless_last, as, 0));
	KUNIT_EXPECT_EQ(test, page_ref_count(head), 1);
	if (huge)
		KUNIT_EXPECT_EQ(test, atomic_read(&page_folio(head)->_pincount), 0);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins);
	put_page(head);
}

static void page_helpers(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	check_put_page(test, page, page, call_virt);
	__free_page(page);
	check_unpin(test, map_small(test, 1), false, call_virt);
}

static void page_helpers_huge(struct kunit *test)
{
	check_unpin(test, map_huge(test, 1) + 3 * P, true, call_virt);
}

static void pfn_to_page_real(struct kunit *test)
{
	unsigned long pfn, bad = BIT(46 - PAGE_SHIFT);
	struct page *page, *virt, *real;
	unsigned int n = 0;

	page = alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, page);
	if (radix_enabled()) {
		KUNIT_EXPECT_NULL(test, realmode_pfn_to_page(page_to_pfn(page)));
		__free_page(page);
		kunit_skip(test, "radix translation: answers NULL, as it should");
	}
	need_real_mode(test);
	for (pfn = 0; pfn < max_pfn; pfn += 61) {
		if (!pfn_valid(pfn))
			continue;
		virt = realmode_pfn_to_page(pfn);
		real = (void *)call_real(realmode_pfn_to_page, pfn, 0, 0, 0, 0, 0);
		KUNIT_ASSERT_NOT_NULL(test, virt);
		KUNIT_ASSERT_PTR_EQ(test, virt, real);
		/* In the linear map, and not what pfn_to_page() says. */
		KUNIT_ASSERT_TRUE(test, virt_addr_valid(virt));
		KUNIT_ASSERT_PTR_NE(test, virt, pfn_to_page(pfn));
		n++;
	}
	KUNIT_EXPECT_GT(test, n, 100U);
	KUNIT_EXPECT_NULL(test, realmode_pfn_to_page(bad));
	KUNIT_EXPECT_EQ(test, call_real(realmode_pfn_to_page, bad, 0, 0, 0, 0, 0), 0L);

	/* The same struct page: what is done through one is seen in the other. */
	real = realmode_pfn_to_page(page_to_pfn(page));
	KUNIT_EXPECT_MEMEQ(test, &real->flags, &page->flags, sizeof(page->flags));
	get_page(page);
	KUNIT_EXPECT_EQ(test, atomic_read(&real->_refcount), 2);
	put_page(page);
	KUNIT_EXPECT_EQ(test, atomic_read(&real->_refcount), 1);
	__free_page(page);
}

static void page_helpers_real(struct kunit *test)
{
	struct page *page;

	need_real_mode(test);
	page = alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, page);
	check_put_page(test, page, realmode_pfn_to_page(page_to_pfn(page)), call_real);
	__free_page(page);
	check_unpin(test, map_small(test, 1), false, call_real);
}

static void page_helpers_real_huge(struct kunit *test)
{
	need_real_mode(test);
	check_unpin(test, map_huge(test, 1) + 3 * P, true, call_real);
}

/* ---- allocation failures ---- */

#if defined(CONFIG_FAILSLAB) && defined(CONFIG_FAULT_INJECTION_DEBUG_FS)
/* A knob of fault injection, found by its debugfs file. */
static void *knob(const char *dir, const char *name)
{
	struct dentry *d = debugfs_lookup(dir, NULL), *file;
	void *value = NULL;

	if (!d)
		return NULL;
	file = debugfs_lookup(name, d);
	if (file)
		value = d_inode(file)->i_private;
	dput(file);
	dput(d);
	return value;
}

/* Let the nth allocation of each register fail, until none is left to fail. */
static void no_memory(struct kunit *test)
{
	bool *reclaim = knob("failslab", "ignore-gfp-wait");
	unsigned long *verbose = knob("failslab", "verbose"), was;
	struct fixture *f = test->priv;
	unsigned long pages = 2 * CHUNK_PAGES + 3, ua, hpa;
	struct mm_iommu_region *mem, *have;
	unsigned int nth, failed = 0, left;
	int ret = -ENOMEM;

	if (!reclaim || !verbose)
		kunit_skip(test, "no debugfs knobs for failslab");
	ua = map_scattered(test, pages + 1);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, ua + pages * P, P, &have), 0);
	was = *verbose;
	*verbose = 0;
	*reclaim = false;
	for (nth = 1; nth < 200; nth++) {
		current->fail_nth = nth;
		ret = mm_iommu_register(f->mm, ua, pages * P, &mem);
		left = current->fail_nth;
		current->fail_nth = 0;
		if (ret && ret != -ENOMEM)
			break;
		if (!ret && left)
			break;
		if (!ret) {
			mm_iommu_unregister(f->mm, mem);
		} else {
			failed++;
			KUNIT_EXPECT_EQ(test, translate(f->mm, ua, &hpa), -EFAULT);
		}
		KUNIT_EXPECT_EQ(test, mm_iommu_drain(f->mm), 0);
		KUNIT_EXPECT_EQ(test, index_count(f->mm), 1L);
		KUNIT_EXPECT_EQ(test, pins_live(), f->pins + 1);
		KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 1UL);
	}
	*reclaim = true;
	*verbose = was;
	KUNIT_EXPECT_EQ(test, ret, 0);
	/* Region, words, pages array, a leaf per chunk. */
	KUNIT_EXPECT_GE(test, failed, 4U);
	kunit_info(test, "%u allocations failed in turn", failed);
	if (!ret)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, mem), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, have), 0);
}
#else
static void no_memory(struct kunit *test)
{
	kunit_skip(test, "no CONFIG_FAILSLAB with debugfs: see make debug-kernel");
}
#endif

static struct kunit_case mm_iommu_cases[] = {
	KUNIT_CASE(transitions),
	KUNIT_CASE(claimed_refused),
	KUNIT_CASE_PARAM(overlaps, overlap_gen_params),
	KUNIT_CASE(bad_arguments),
	KUNIT_CASE(read_only),
	KUNIT_CASE_PARAM(holes, hole_gen_params),
	KUNIT_CASE(memlock_limit),
	KUNIT_CASE(translate_small),
	KUNIT_CASE(translate_scattered),
	KUNIT_CASE(translate_huge),
	KUNIT_CASE(translate_hugetlb),
	KUNIT_CASE(translate_gigantic),
	KUNIT_CASE(blocks),
	KUNIT_CASE(translate_mixed),
	KUNIT_CASE(translate_after_split),
	KUNIT_CASE(dirty),
	KUNIT_CASE(dirty_exact),
	KUNIT_CASE_PARAM(many_regions, order_gen_params),
	KUNIT_CASE(wider_instead),
	KUNIT_CASE(writer_stopped),
	KUNIT_CASE(no_misses),
	KUNIT_CASE(device_memory),
	KUNIT_CASE(price),
	KUNIT_CASE(threads),
	KUNIT_CASE(threads_mms),
	KUNIT_CASE(claim_shared),
	KUNIT_CASE(claim_failed),
	KUNIT_CASE(claim_wait_killed),
	KUNIT_CASE_PARAM(register_killed, killed_gen_params),
	KUNIT_CASE(register_killed_before),
	KUNIT_CASE(uncharged_at_once),
	KUNIT_CASE(uncharged_bounded),
	KUNIT_CASE(failed_costs_no_grace_period),
	KUNIT_CASE(own_workqueue),
	KUNIT_CASE(stores_apart),
	KUNIT_CASE(unregister_last),
	KUNIT_CASE(uncharged_later),
	KUNIT_CASE(orphan),
	KUNIT_CASE(orphan_race),
	KUNIT_CASE(listing_unlocked),
	KUNIT_CASE(listing_claimed),
	KUNIT_CASE(no_memory),
	KUNIT_CASE(page_helpers),
	KUNIT_CASE(page_helpers_huge),
	KUNIT_CASE(pfn_to_page_real),
	KUNIT_CASE(real_mode_is_real),
	KUNIT_CASE(real_mode),
	KUNIT_CASE(real_mode_huge),
	KUNIT_CASE(real_mode_blocks),
	KUNIT_CASE(real_mode_dirty),
	KUNIT_CASE(real_mode_many),
	KUNIT_CASE(page_helpers_real),
	KUNIT_CASE(page_helpers_real_huge),
	{}
};

static struct kunit_suite mm_iommu_suite = {
	.name = "mm_iommu",
	.init = mm_iommu_test_init,
	.exit = mm_iommu_test_exit,
	.test_cases = mm_iommu_cases,
};

kunit_test_suite(mm_iommu_suite);
