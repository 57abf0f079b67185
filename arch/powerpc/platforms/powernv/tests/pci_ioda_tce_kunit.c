// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tests of TCE tables: shapes, growth, reclaim, races, charges, failures.
 *
 * Two oracles. struct model is a flat array over some stretches of the window, at
 * its ends, its middle and here and there, and knows what every entry of them must
 * be. hw_walk() repeats from the IODA2 description (and QEMU's PHB models) how the
 * hardware finds a TCE, given only what a TVE holds: physical address of the
 * top level, its size, number of levels, IOMMU page size. What the code says and
 * what the hardware finds must be what the model knows.
 *
 * The code under test is built into this file once more, by other names and instrumented.
 * iommu_levels_probe counts every level of every table. No case leaves one behind,
 * and where a table says how many bytes it has, they are counted as well.
 *
 * Entries of user's tables are changed here by user_set() and user_clear(): the
 * shortest code that keeps the rules of asm/iommu_levels.h.
 */
#include "iommu_levels_kunit.h"
#include <kunit/test.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/prandom.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/tce.h>
#include "../../../mm/book3s64/tests/iommu_kunit.h"
#include "../pci.h"
#include "../pci-ioda-tce.h"

#define RW		(TCE_PCI_READ | TCE_PCI_WRITE)
#define MAX_WINDOW	52
#define ADDR_BITS	54		/* page and index bits on IODA2 */
#define BLOCK_MAX	ilog2(KMALLOC_MAX_SIZE)

static const unsigned int page_shifts[] = { 12, 16, 21, 24, 28, 30 };

struct fixture {
	struct mm_struct *mm;
	struct rnd_state rnd;
	long blocks, bytes;		/* of other tables */
};

/* ---- a table outside of any PHB ---- */

static atomic_t kills;
static long blocks_at_kill;

static void test_kill(struct iommu_table *tbl, unsigned long index, unsigned long pages)
{
	blocks_at_kill = atomic_long_read(&iommu_levels_probe.blocks);
	atomic_inc(&kills);
}

/* A PHB's, but for tce_kill() */
static struct iommu_table_ops test_ops;

static struct iommu_table *table_alloc(void)
{
	struct iommu_table *tbl = kzalloc_obj(*tbl);

	if (tbl) {
		INIT_LIST_HEAD_RCU(&tbl->it_group_list);
		kref_init(&tbl->it_kref);
		tbl->it_ops = &test_ops;
	}
	return tbl;
}

/* NULL and *@ret on failure. */
static struct iommu_table *table_make(int num, unsigned int page_shift,
				      unsigned int window_shift, unsigned int levels,
				      struct mm_struct *mm, int *ret)
{
	struct iommu_table *tbl = table_alloc();

	*ret = -ENOMEM;
	if (!tbl)
		return NULL;
	*ret = pnv_pci_ioda2_table_init(tbl, NUMA_NO_NODE, num ? BIT(59) : 0, page_shift,
					BIT(window_shift), levels, mm);
	if (*ret) {
		iommu_tce_table_put(tbl);
		tbl = NULL;
	}
	return tbl;
}

/* Levels that can be reached from the top, and their bytes. */
static void tree_count(struct iommu_table *tbl, __be64 *block, unsigned int level,
		       long *blocks, long *bytes)
{
	unsigned long i, link;

	++*blocks;
	*bytes += tbl->it_level_size * 8;
	if (!level) {
		if (tbl->it_view_off)
			*bytes += tbl->it_level_size * 8;
		/* both halves are one allocation, if that is possible */
		if (tbl->it_view_off && tbl->it_view_off != tbl->it_level_size)
			++*blocks;
		return;
	}
	for (i = 0; i < tbl->it_level_size; i++) {
		link = be64_to_cpu(block[i]);
		if (link & RW)
			tree_count(tbl, __va(link & ~0xfffUL), level - 1, blocks, bytes);
	}
}

/* Every level that is allocated is linked, and the table knows what it has. */
static void expect_counted(struct kunit *test, struct iommu_table *tbl)
{
	struct fixture *f = test->priv;
	long blocks = 0, bytes = 0;

	rcu_barrier();
	tree_count(tbl, tbl->it_root, tbl->it_indirect_levels, &blocks, &bytes);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&iommu_levels_probe.blocks),
			f->blocks + blocks);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&iommu_levels_probe.bytes),
			f->bytes + bytes);
	KUNIT_EXPECT_EQ(test, (long)tbl->it_allocated_size, bytes);
	if (tbl->it_mm)
		KUNIT_EXPECT_EQ(test, tbl->it_mm->locked_vm, DIV_ROUND_UP(bytes, PAGE_SIZE));
}

static void expect_nothing_left(struct kunit *test)
{
	struct fixture *f = test->priv;

	rcu_barrier();
	/* Who met another thread in mmap_lock has left uncharging to a worker. */
	mm_iommu_drain(f->mm);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&iommu_levels_probe.blocks), f->blocks);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&iommu_levels_probe.bytes), f->bytes);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 0UL);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->mm->mm_count), 1);
}

static int tce_test_init(struct kunit *test)
{
	static struct pnv_phb phb;
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, f->mm);
	prandom_seed_state(&f->rnd, 20180703);
	test_ops = *pnv_pci_table_ops(&phb);
	test_ops.tce_kill = test_kill;
	rcu_barrier();
	f->blocks = atomic_long_read(&iommu_levels_probe.blocks);
	f->bytes = atomic_long_read(&iommu_levels_probe.bytes);
	iommu_levels_probe.poison = true;
	test->priv = f;
	return 0;
}

static void tce_test_exit(struct kunit *test)
{
	struct fixture *f = test->priv;

	iommu_levels_probe.poison = false;
	iommu_levels_probe.fail_bytes = 0;
	atomic_long_set(&iommu_levels_probe.fail_after, -1);
	if (!f || !f->mm)
		return;
	expect_nothing_left(test);
	mmput(f->mm);
}

/* ---- what the hardware does ---- */

struct tve {
	unsigned long table;		/* physical */
	unsigned int levels;
	unsigned int index_shift;	/* log2 of a level's TCEs */
	unsigned int page_shift;
};

/* 0: refused. @addr as on the bus, with bit 59 in window 1. */
static u64 hw_walk(const struct tve *tve, u64 addr)
{
	unsigned int shift = tve->page_shift + tve->index_shift * (tve->levels - 1);
	u64 base = tve->table, tce, index;
	unsigned int n = tve->levels;

	for (;;) {
		index = (addr >> shift) & (BIT(tve->index_shift) - 1);
		tce = be64_to_cpup(__va(base | index << 3));
		if (!(tce & RW))
			return 0;
		if (!--n)
			return tce;
		base = tce & ~0xfffULL;
		shift -= tve->index_shift;
	}
}

/* As pnv_pci_ioda2_set_window() tells the firmware. */
static struct tve table_tve(struct iommu_table *tbl)
{
	return (struct tve) {
		.table = __pa(tbl->it_base),
		.levels = tbl->it_indirect_levels + 1,
		.index_shift = ilog2(tbl->it_level_size),
		.page_shift = tbl->it_page_shift,
	};
}

/* ---- entries of user's tables ---- */

static int user_set(struct iommu_table *tbl, unsigned long idx, u64 tce, u64 word)
{
	struct iommu_span span;
	bool done = false;
	int ret;

	while (!done) {
		rcu_read_lock();
		iommu_levels_walk(tbl, idx, &span);
		if (!span.view) {
			rcu_read_unlock();
			ret = iommu_levels_grow(tbl, idx);
			if (ret)
				return ret;
			continue;
		}
		if (iommu_view_trylock(iommu_view_head(span.view))) {
			if (span.tce)
				WRITE_ONCE(*span.tce, cpu_to_be64(tce));
			iommu_view_set(span.view, word | IOMMU_VIEW_LIVE);
			iommu_view_unlock(iommu_view_head(span.view));
			done = true;
		}
		rcu_read_unlock();
		if (!done)
			cond_resched();
	}
	return 0;
}

static void user_clear(struct iommu_table *tbl, unsigned long idx, unsigned long nr)
{
	unsigned long i, n, end = idx + nr;
	struct iommu_span span;

	for (; idx < end; idx += n) {
		rcu_read_lock();
		iommu_levels_walk(tbl, idx, &span);
		n = min(span.nr, end - idx);
		for (i = 0; span.view && i < n; i++) {
			if (!(READ_ONCE(span.view[i]) & IOMMU_VIEW_LIVE))
				continue;
			if (!iommu_view_trylock(iommu_view_head(&span.view[i]))) {
				n = i;		/* somebody has the line: again from here */
				break;
			}
			if (span.tce)
				WRITE_ONCE(span.tce[i], 0);
			iommu_view_set(&span.view[i], 0);
			iommu_view_unlock(iommu_view_head(&span.view[i]));
		}
		rcu_read_unlock();
		cond_resched();
	}
}

/* What a user's table says of an entry. */
static u64 user_get(struct iommu_table *tbl, unsigned long idx, u64 *word)
{
	struct iommu_span span;
	u64 tce = 0;

	rcu_read_lock();
	iommu_levels_walk(tbl, idx, &span);
	*word = span.view ? READ_ONCE(*span.view) & ~IOMMU_VIEW_BUSY : 0;
	if (span.tce)
		tce = be64_to_cpu(READ_ONCE(*span.tce));
	rcu_read_unlock();
	return tce;
}

/* ---- the flat array ---- */

#define STRETCH		256UL
#define STRETCHES	16

struct model {
	struct iommu_table *tbl;
	unsigned int nr;			/* stretches, sorted, disjoint */
	unsigned long start[STRETCHES];
	unsigned long len[STRETCHES];
	u64 tce[STRETCHES][STRETCH];
};

static u64 rnd64(struct kunit *test)
{
	struct fixture *f = test->priv;

	return (u64)prandom_u32_state(&f->rnd) << 32 | prandom_u32_state(&f->rnd);
}

static void model_add(struct model *m, unsigned long start)
{
	unsigned long size = m->tbl->it_size;
	unsigned int i;

	start = round_down(min(start, size - 1), STRETCH);
	for (i = 0; i < m->nr; i++)
		if (m->start[i] == start)
			return;
	for (i = m->nr++; i && m->start[i - 1] > start; i--)
		m->start[i] = m->start[i - 1];
	m->start[i] = start;
}

static void model_make(struct kunit *test, struct model *m, struct iommu_table *tbl)
{
	unsigned long leaf = tbl->it_level_size * 16, want, i;

	memset(m, 0, sizeof(*m));
	m->tbl = tbl;
	want = clamp(SZ_16M / leaf, 3UL, (unsigned long)STRETCHES);
	model_add(m, 0);
	model_add(m, tbl->it_size - 1);
	model_add(m, tbl->it_size / 2);
	for (i = 3; i < want; i++)
		model_add(m, rnd64(test) % tbl->it_size);
	for (i = 0; i < m->nr; i++)
		m->len[i] = min(STRETCH, tbl->it_size - m->start[i]);
}

static u64 model_word(u64 tce)
{
	/* any address will do, if it can be told from the others */
	return tce ? ((tce ^ 0x5a5000) & IOMMU_VIEW_UA) | IOMMU_VIEW_LIVE : 0;
}

static int model_check_one(struct model *m, unsigned int s, unsigned long i)
{
	struct iommu_table *tbl = m->tbl;
	unsigned long idx = m->start[s] + i, index = idx + tbl->it_offset;
	struct tve tve = table_tve(tbl);
	u64 want = m->tce[s][i], word;

	if (tbl->it_ops->get(tbl, index) != want ||
	    hw_walk(&tve, index << tbl->it_page_shift) != want)
		return -1;
	if (tbl->it_mm && (user_get(tbl, idx, &word) != want || word != model_word(want)))
		return -1;
	return 0;
}

static int model_check(struct model *m)
{
	unsigned long i;
	unsigned int s;

	for (s = 0; s < m->nr; s++)
		for (i = 0; i < m->len[s]; i++)
			if (model_check_one(m, s, i))
				return -1;
	return 0;
}

static void model_clear(struct model *m, unsigned long idx, unsigned long nr)
{
	unsigned long i;
	unsigned int s;

	for (s = 0; s < m->nr; s++)
		for (i = 0; i < m->len[s]; i++)
			if (m->start[s] + i >= idx && m->start[s] + i < idx + nr)
				m->tce[s][i] = 0;
}

/* One random operation on table and model. */
static int model_step(struct kunit *test, struct model *m)
{
	struct iommu_table *tbl = m->tbl;
	unsigned int s = rnd64(test) % m->nr, op = rnd64(test) % 8, to;
	unsigned long i = rnd64(test) % m->len[s], n, nr, idx, size;
	u64 pa, perm;

	size = BIT(tbl->it_page_shift);
	idx = m->start[s] + i;
	nr = 1 + rnd64(test) % (m->len[s] - i);
	switch (op) {
	case 0:		/* from here to somewhere in a later stretch */
		to = s + rnd64(test) % (m->nr - s);
		nr = m->start[to] + m->len[to] - idx;
		fallthrough;
	case 1:
	case 2:
		if (tbl->it_mm) {
			user_clear(tbl, idx, nr);
			iommu_levels_reclaim(tbl, idx, nr);
		} else {
			tbl->it_ops->clear(tbl, idx + tbl->it_offset, nr);
		}
		model_clear(m, idx, nr);
		return 0;
	case 3:
		if (tbl->it_mm)
			iommu_levels_reclaim(tbl, 0, tbl->it_size);
		return 0;
	default:
		perm = 1 + rnd64(test) % 3;
		pa = rnd64(test) & (BIT(45) - 1) & ~(size - 1);
		for (n = 0; n < nr; n++) {
			m->tce[s][i + n] = (pa + n * size) | perm |
					   (perm & TCE_PCI_WRITE ? TCE_PCI_READ : 0);
			if (tbl->it_mm && user_set(tbl, idx + n, m->tce[s][i + n],
						   model_word(m->tce[s][i + n])))
				return -1;
		}
		if (tbl->it_mm)
			return 0;
		return tbl->it_ops->set(tbl, idx + tbl->it_offset, nr, (unsigned long)__va(pa),
					perm == 1 ? DMA_TO_DEVICE :
					perm == 2 ? DMA_FROM_DEVICE : DMA_BIDIRECTIONAL, 0);
	}
}

/* ---- shapes ---- */

/* May it be refused? Only if with that many levels one would be too large. */
static bool shape_impossible(unsigned int page_shift, unsigned int window_shift,
			     unsigned int levels, bool pair)
{
	unsigned int bits = window_shift - page_shift, n, shift;

	for (n = 1; n <= levels; n++) {
		shift = max(DIV_ROUND_UP(bits, n), 9U);
		if (n * shift + page_shift <= ADDR_BITS &&
		    shift + 3 + (pair && n > 1) <= BLOCK_MAX)
			return false;
	}
	return true;
}

static void expect_shape(struct kunit *test, struct iommu_table *tbl,
			 unsigned int window_shift, unsigned int levels)
{
	unsigned int n = tbl->it_indirect_levels + 1;
	unsigned int shift = ilog2(tbl->it_level_size);
	unsigned int bits = window_shift - tbl->it_page_shift;

	KUNIT_EXPECT_TRUE(test, is_power_of_2(tbl->it_level_size));
	KUNIT_EXPECT_TRUE(test, n <= levels && shift >= 9);
	KUNIT_EXPECT_TRUE(test, n * shift >= bits);
	KUNIT_EXPECT_TRUE(test, n * shift + tbl->it_page_shift <= ADDR_BITS);
	/* no level with a single word in use */
	KUNIT_EXPECT_TRUE(test, n == 1 || (n - 1) * shift < bits);
	KUNIT_EXPECT_EQ(test, tbl->it_base & (tbl->it_level_size * 8 - 1), 0UL);
	KUNIT_EXPECT_EQ(test, tbl->it_size, BIT(bits));
	if (tbl->it_mm)
		KUNIT_EXPECT_EQ(test, tbl->it_allocated_size,
				tbl->it_level_size * 8 * (n == 1 ? 2 : 1));
}

/* The table may have room beyond the window: nothing of it is ever used. */
static void expect_bounds(struct kunit *test, struct iommu_table *tbl)
{
	struct tve tve = table_tve(tbl);
	unsigned int bits = tve.levels * tve.index_shift + tve.page_shift;
	unsigned long last = tbl->it_size - 1, end, i;
	struct iommu_span span;
	u64 word;

	KUNIT_EXPECT_EQ(test, user_set(tbl, last, BIT(40) | RW, 0), 0);
	iommu_levels_walk(tbl, last, &span);
	KUNIT_EXPECT_EQ(test, span.nr, 1UL);
	iommu_levels_walk(tbl, 0, &span);
	KUNIT_EXPECT_TRUE(test, span.nr >= 1 && span.nr <= tbl->it_size);

	end = min(BIT(bits) >> tve.page_shift, tbl->it_size + 1024);
	for (i = tbl->it_size; i < end; i++)
		KUNIT_ASSERT_EQ(test, hw_walk(&tve, (i + tbl->it_offset) << tve.page_shift), 0ULL);

	/* to the last entry, none after: the leaf is whole up to the table's end */
	user_clear(tbl, 0, tbl->it_size);
	iommu_levels_reclaim(tbl, 0, tbl->it_size);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size,
			tbl->it_level_size * 8 * (tve.levels == 1 ? 2 : 1));
	KUNIT_EXPECT_EQ(test, user_get(tbl, last, &word), 0ULL);
}

static void one_combination(struct kunit *test, struct model *m, unsigned int page_shift,
			    unsigned int window_shift, unsigned int levels, bool user)
{
	struct fixture *f = test->priv;
	struct iommu_table *tbl;
	int ret, step;

	tbl = table_make(window_shift & 1, page_shift, window_shift, levels,
			 user ? f->mm : NULL, &ret);
	if (shape_impossible(page_shift, window_shift, levels, user)) {
		KUNIT_EXPECT_EQ_MSG(test, ret, -EINVAL, "%u levels, page %u, window %u",
				    levels, page_shift, window_shift);
		if (tbl)
			iommu_tce_table_put(tbl);
		return;
	}
	KUNIT_ASSERT_EQ_MSG(test, ret, 0, "%u levels, page %u, window %u", levels, page_shift,
			    window_shift);
	expect_shape(test, tbl, window_shift, levels);
	model_make(test, m, tbl);
	for (step = 0; step < 24; step++) {
		if (model_step(test, m) || (step % 4 == 3 && model_check(m))) {
			KUNIT_FAIL(test, "%u levels, page %u, window %u, user %d, step %d",
				   levels, page_shift, window_shift, user, step);
			break;
		}
	}
	if (user)
		KUNIT_EXPECT_EQ(test, f->mm->locked_vm,
				DIV_ROUND_UP(tbl->it_allocated_size, PAGE_SIZE));
	if (user)
		expect_bounds(test, tbl);
	iommu_tce_table_put(tbl);
	KUNIT_ASSERT_EQ(test, f->mm->locked_vm, 0UL);
}

static void all_combinations(struct kunit *test)
{
	const unsigned int page_shift = *(const unsigned int *)test->param_value;
	unsigned int window_shift, levels;
	struct model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, m);
	for (window_shift = page_shift; window_shift <= MAX_WINDOW; window_shift++) {
		for (levels = 1; levels <= POWERNV_IOMMU_MAX_LEVELS; levels++) {
			one_combination(test, m, page_shift, window_shift, levels, false);
			one_combination(test, m, page_shift, window_shift, levels, true);
		}
		expect_nothing_left(test);
	}
}

static void page_shift_desc(const unsigned int *shift, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "page_shift_%u", *shift);
}

KUNIT_ARRAY_PARAM(page_shift, page_shifts, page_shift_desc);

/* What user space may ask for and must not get, before anything is shifted by it. */
static void refused_shapes(struct kunit *test)
{
	static const struct {
		u32 page_shift;
		u64 window;
		u32 levels;
	} bad[] = {
		{ 16, SZ_2G, 0 }, { 16, SZ_2G, 6 }, { 16, SZ_2G, U32_MAX },
		{ 16, SZ_2G + SZ_64K, 1 }, { 16, SZ_32K, 1 }, { 16, 0, 1 },
		{ 0, SZ_2G, 1 }, { 11, SZ_2G, 2 }, { 63, BIT(63), 1 }, { 64, BIT(63), 1 },
		{ U32_MAX, SZ_2G, 1 }, { 12, BIT(55), 5 }, { 12, BIT(63), 5 },
		{ 16, BIT(41), 1 },
	};
	struct fixture *f = test->priv;
	struct iommu_table *tbl;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		tbl = table_alloc();
		KUNIT_ASSERT_NOT_NULL(test, tbl);
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    pnv_pci_ioda2_table_init(tbl, NUMA_NO_NODE, 0,
							     bad[i].page_shift,
							     bad[i].window, bad[i].levels,
							     f->mm), "%u", i);
		iommu_tce_table_put(tbl);
	}
}

/* Five real levels: deeper than IODA2 goes, but the code may. */
static void five_levels(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommu_table *tbl = table_alloc();
	struct model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	int step;

	KUNIT_ASSERT_NOT_NULL(test, tbl);
	KUNIT_ASSERT_NOT_NULL(test, m);
	tbl->it_page_shift = 12;
	tbl->it_size = BIT(40);
	KUNIT_ASSERT_EQ(test, 0, iommu_levels_init(tbl, NUMA_NO_NODE, 5, 9, true, f->mm));
	tbl->it_base = (unsigned long)tbl->it_root;
	model_make(test, m, tbl);
	for (step = 0; step < 200; step++) {
		KUNIT_ASSERT_EQ(test, 0, model_step(test, m));
		KUNIT_ASSERT_EQ(test, 0, model_check(m));
	}
	expect_counted(test, tbl);
	expect_bounds(test, tbl);
	iommu_tce_table_put(tbl);
}

/* pSeries: leaves of view words, no TCEs. */
static void view_only(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommu_table *tbl = table_alloc();
	struct iommu_span span;
	u64 word;

	KUNIT_ASSERT_NOT_NULL(test, tbl);
	tbl->it_page_shift = 16;
	tbl->it_size = BIT(25);
	KUNIT_ASSERT_EQ(test, 0, iommu_levels_init(tbl, NUMA_NO_NODE, 2, 13, false, f->mm));
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, SZ_64K);
	KUNIT_ASSERT_EQ(test, 0, user_set(tbl, 12345, 0, 0x1234000));
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, 2 * SZ_64K);
	expect_counted(test, tbl);
	iommu_levels_walk(tbl, 12345, &span);
	KUNIT_EXPECT_NULL(test, span.tce);
	KUNIT_EXPECT_NOT_NULL(test, span.view);
	KUNIT_EXPECT_EQ(test, span.nr, 2 * 8192UL - 12345);
	KUNIT_EXPECT_EQ(test, user_get(tbl, 12345, &word), 0ULL);
	KUNIT_EXPECT_EQ(test, word, 0x1234000 | IOMMU_VIEW_LIVE);
	iommu_levels_walk(tbl, 20000, &span);
	KUNIT_EXPECT_NULL(test, span.view);
	KUNIT_EXPECT_EQ(test, span.nr, 3 * 8192UL - 20000);
	user_clear(tbl, 0, tbl->it_size);
	iommu_levels_reclaim(tbl, 0, tbl->it_size);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, SZ_64K);
	expect_counted(test, tbl);
	iommu_tce_table_put(tbl);
}

/*
 * 16 GiB of RAM at 0, and 16 GiB in a 128 GiB device window at 0x244000000000: the
 * example of 'Allocate indirect TCE levels on demand'. Flat it takes 4556 MiB, and
 * as much again for the view.
 */
static void worked_example(struct kunit *test)
{
	const unsigned long n = SZ_16G >> 16, at = 0x244000000000 >> 16;
	struct fixture *f = test->priv;
	unsigned long i, levels, leaf;
	long blocks, bytes, leaves;
	struct iommu_table *tbl;
	int ret;

	for (levels = 2; levels <= POWERNV_IOMMU_MAX_LEVELS; levels++) {
		tbl = table_make(0, 16, 46, levels, f->mm, &ret);
		KUNIT_ASSERT_NOT_NULL(test, tbl);
		leaf = tbl->it_level_size;
		for (i = 0; i < n; i += leaf) {
			KUNIT_ASSERT_EQ(test, 0, user_set(tbl, i, (i << 16) | RW, i << 16));
			KUNIT_ASSERT_EQ(test, 0, user_set(tbl, at + i, ((n + i) << 16) | RW,
							  (n + i) << 16));
		}
		blocks = 0;
		bytes = 0;
		tree_count(tbl, tbl->it_root, tbl->it_indirect_levels, &blocks, &bytes);
		leaves = 2 * DIV_ROUND_UP(n, leaf) * leaf * 8;
		kunit_info(test, "%lu levels asked, %lu made: TCE leaves %ld KiB, view %ld KiB, indirect %ld KiB, charged %lu KiB\n",
			   levels, tbl->it_indirect_levels + 1, leaves >> 10, leaves >> 10,
			   (bytes - 2 * leaves) >> 10, f->mm->locked_vm << (PAGE_SHIFT - 10));
		KUNIT_EXPECT_LE(test, leaves, (9L * SZ_1M) / 2);
		KUNIT_EXPECT_LE(test, bytes - 2 * leaves, (long)SZ_1M);
		expect_counted(test, tbl);
		iommu_tce_table_put(tbl);
	}
}

/* Under QEMU's -icount a nanosecond is an instruction. */
static void bench_row(struct kunit *test, const char *row, unsigned long levels, s64 hundredths)
{
	kunit_info(test, "bench %s.%lu %lld.%02lld\n", row, levels, hundredths / 100,
		   hundredths % 100);
}

/* 2 TiB of 64K pages: any number of levels the hardware can do. */
static void two_tib(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long levels, made;
	struct iommu_table *tbl;
	ktime_t t0, t1, t2, t3;
	int ret;

	iommu_levels_probe.poison = false;	/* not part of the price */
	for (levels = 2; levels <= POWERNV_IOMMU_MAX_LEVELS; levels++) {
		t0 = ktime_get();
		tbl = table_make(1, 16, 41, levels, f->mm, &ret);
		t1 = ktime_get();
		KUNIT_ASSERT_NOT_NULL(test, tbl);
		KUNIT_EXPECT_LE(test, tbl->it_allocated_size, (unsigned long)SZ_64K);
		KUNIT_EXPECT_EQ(test, f->mm->locked_vm,
				DIV_ROUND_UP(tbl->it_allocated_size, PAGE_SIZE));
		KUNIT_ASSERT_EQ(test, 0, user_set(tbl, tbl->it_size - 1, BIT(40) | RW, 0));
		made = tbl->it_allocated_size;
		t2 = ktime_get();
		iommu_tce_table_put(tbl);
		t3 = ktime_get();
		bench_row(test, "tce.2t.create", levels, ktime_to_ns(ktime_sub(t1, t0)) * 100);
		bench_row(test, "tce.2t.destroy", levels, ktime_to_ns(ktime_sub(t3, t2)) * 100);
		bench_row(test, "tce.2t.bytes", levels, made * 100);
	}
}

/* ---- charges ---- */

static void charges(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct rlimit *limit = &current->signal->rlim[RLIMIT_MEMLOCK];
	const unsigned long saved = limit->rlim_cur;
	const struct cred *old;
	struct iommu_table *tbl;
	unsigned long i;
	u64 word;
	int ret;

	old = ipc_lock_drop(test);

	/* two levels: 64K top, 128K leaves of 8192 */
	limit->rlim_cur = PAGE_SIZE - 1;
	tbl = table_make(0, 16, 41, 2, f->mm, &ret);
	KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 0UL);
	expect_nothing_left(test);

	limit->rlim_cur = SZ_64K + 2 * SZ_128K + SZ_64K;
	tbl = table_make(0, 16, 41, 2, f->mm, &ret);
	if (!tbl)
		goto out;
	KUNIT_EXPECT_EQ(test, tbl->it_level_size, 8192UL);
	expect_counted(test, tbl);
	KUNIT_EXPECT_EQ(test, 0, user_set(tbl, 0, BIT(40) | RW, 0));
	KUNIT_EXPECT_EQ(test, 0, user_set(tbl, 8192, BIT(40) | RW, 0));
	expect_counted(test, tbl);
	KUNIT_EXPECT_EQ(test, -ENOMEM, user_set(tbl, 16384, BIT(40) | RW, 0));
	expect_counted(test, tbl);
	KUNIT_EXPECT_EQ(test, 0ULL, user_get(tbl, 16384, &word));
	/* what exists needs no charge */
	KUNIT_EXPECT_EQ(test, 0, user_set(tbl, 8193, BIT(40) | RW, 0));
	/* giving back makes room */
	user_clear(tbl, 0, 8192);
	iommu_levels_reclaim(tbl, 0, 8192);
	expect_counted(test, tbl);
	KUNIT_EXPECT_EQ(test, 0, user_set(tbl, 16384, BIT(40) | RW, 0));
	expect_counted(test, tbl);
	/* nothing more for a table that has been revoked */
	limit->rlim_cur = RLIM_INFINITY;
	tbl->it_revoked = true;
	KUNIT_EXPECT_EQ(test, -ENODEV, user_set(tbl, 0, BIT(40) | RW, 0));
	expect_counted(test, tbl);
	iommu_tce_table_put(tbl);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 0UL);

	/* levels smaller than a page: the sum is rounded up, not each */
	tbl = table_make(0, 12, 39, 3, f->mm, &ret);
	if (!tbl)
		goto out;
	KUNIT_EXPECT_EQ(test, tbl->it_level_size, 512UL);
	for (i = 0; i < 20; i++) {
		KUNIT_EXPECT_EQ(test, 0, user_set(tbl, i * 512, BIT(40) | RW, 0));
		expect_counted(test, tbl);
	}
	while (i--) {
		user_clear(tbl, i * 512, 512);
		iommu_levels_reclaim(tbl, i * 512, 512);
		expect_counted(test, tbl);
	}
	iommu_tce_table_put(tbl);
out:
	KUNIT_EXPECT_NOT_NULL(test, tbl);
	limit->rlim_cur = saved;
	ipc_lock_back(old);
}

/* Whose addresses does the view hold? */
static void owner(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct mm_struct *other = mm_alloc();
	struct iommu_table *tbl;
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, other);
	tbl = table_make(0, 16, 31, 1, f->mm, &ret);
	KUNIT_ASSERT_NOT_NULL(test, tbl);
	KUNIT_EXPECT_EQ(test, 0, iommu_tce_table_check_mm(tbl, f->mm));
	KUNIT_EXPECT_EQ(test, -EPERM, iommu_tce_table_check_mm(tbl, other));
	KUNIT_EXPECT_EQ(test, -EPERM, iommu_tce_table_check_mm(tbl, NULL));
	iommu_tce_table_put(tbl);
	tbl = table_make(0, 16, 31, 1, NULL, &ret);
	KUNIT_ASSERT_NOT_NULL(test, tbl);
	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_tce_table_check_mm(tbl, f->mm));
	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_tce_table_check_mm(tbl, NULL));
	iommu_tce_table_put(tbl);
	mmput(other);
}

/* ---- allocation failures ---- */

/* Fails allocation 0, 1, ... until @try has none left that could fail. */
static void fail_each(struct kunit *test, int (*try)(struct kunit *test, void *arg), void *arg,
		      int sites)
{
	atomic_long_t *after = &iommu_levels_probe.fail_after;
	int n, ret;

	for (n = 0; n < 16; n++) {
		atomic_long_set(after, n);
		ret = try(test, arg);
		if (!ret)
			break;			/* it was enough */
		KUNIT_EXPECT_EQ_MSG(test, ret, -ENOMEM, "site %d", n);
	}
	atomic_long_set(after, -1);
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, n, sites);
}

struct fail_case {
	unsigned int page_shift, window_shift, levels;
	bool user;
	struct iommu_table *tbl;
};

static int try_create(struct kunit *test, void *arg)
{
	struct fixture *f = test->priv;
	struct fail_case *c = arg;
	int ret;

	c->tbl = table_make(0, c->page_shift, c->window_shift, c->levels,
			    c->user ? f->mm : NULL, &ret);
	if (ret)
		expect_nothing_left(test);
	return ret;
}

static int try_set(struct kunit *test, void *arg)
{
	struct fail_case *c = arg;
	struct iommu_table *tbl = c->tbl;
	unsigned long idx = tbl->it_size / 2 - 1;
	struct tve tve = table_tve(tbl);
	long after;
	int ret;

	/* two leaves: the second may fail after the first came */
	if (c->user)
		ret = user_set(tbl, idx, BIT(40) | RW, 0) ?:
		      user_set(tbl, idx + 1, BIT(40) | RW, 0);
	else
		ret = tbl->it_ops->set(tbl, idx, 2, (unsigned long)__va(BIT(40)),
				       DMA_BIDIRECTIONAL, 0);
	if (ret && c->user) {
		/* from the same state each time */
		after = atomic_long_xchg(&iommu_levels_probe.fail_after, -1);
		user_clear(tbl, 0, tbl->it_size);
		iommu_levels_reclaim(tbl, 0, tbl->it_size);
		atomic_long_set(&iommu_levels_probe.fail_after, after);
	} else if (ret) {
		/* nothing half set */
		KUNIT_EXPECT_EQ(test, 0ULL, hw_walk(&tve, idx << tbl->it_page_shift));
		KUNIT_EXPECT_EQ(test, 0ULL, hw_walk(&tve, (idx + 1) << tbl->it_page_shift));
	}
	expect_counted(test, tbl);
	return ret;
}

static void allocation_failures(struct kunit *test)
{
	/* one of them with top and view in two allocations */
	static const struct fail_case cases[] = {
		{ 16, 30, 1 }, { 16, 30, 1, true }, { 12, 33, 1, true }, { 16, 41, 2 },
		{ 16, 41, 2, true }, { 16, 41, 3 }, { 16, 41, 3, true }, { 12, 48, 4 },
		{ 12, 48, 4, true },
	};
	unsigned int i, depth, creation;
	struct fail_case c;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		c = cases[i];
		creation = 1 + (c.levels == 1 && c.user &&
				c.window_shift - c.page_shift + 4 > BLOCK_MAX);
		fail_each(test, try_create, &c, creation);
		KUNIT_ASSERT_NOT_NULL(test, c.tbl);
		KUNIT_ASSERT_EQ(test, c.tbl->it_indirect_levels, c.levels - 1);
		depth = c.levels - 1;
		if (c.user)
			/* both leaves hang off different words of the top */
			fail_each(test, try_set, &c, 2 * depth);
		else if (depth)
			/* what came before a failure stays: one less each time */
			fail_each(test, try_set, &c, depth == 1 ? 2 : depth + 1);
		iommu_tce_table_put(c.tbl);
		expect_nothing_left(test);
	}
}

/*
 * One level, as the default window has it: where TCEs and view are not to be had in one
 * allocation, two do. Nothing but that one is larger than a half.
 */
static void halves(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommu_table *tbl;
	unsigned long i;
	struct tve tve;
	u64 word;
	int ret;

	iommu_levels_probe.fail_bytes = SZ_256K;	/* 2^14 TCEs and as many view words */
	tbl = table_make(0, 16, 30, 1, f->mm, &ret);
	KUNIT_ASSERT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, (unsigned long)SZ_256K);
	expect_counted(test, tbl);
	for (i = 0; i < tbl->it_size; i += 1021)
		KUNIT_EXPECT_EQ(test, 0, user_set(tbl, i, BIT(40) + i * SZ_64K + RW,
						  i * SZ_64K));
	tve = table_tve(tbl);
	for (i = 0; i < tbl->it_size; i += 1021) {
		KUNIT_EXPECT_EQ(test, hw_walk(&tve, i * SZ_64K), BIT(40) + i * SZ_64K + RW);
		KUNIT_EXPECT_EQ(test, user_get(tbl, i, &word), BIT(40) + i * SZ_64K + RW);
		KUNIT_EXPECT_EQ(test, word, i * SZ_64K | IOMMU_VIEW_LIVE);
	}
	user_clear(tbl, 0, tbl->it_size);
	iommu_tce_table_put(tbl);
	expect_nothing_left(test);

	/* The second half is not to be had either. */
	atomic_long_set(&iommu_levels_probe.fail_after, 1);
	tbl = table_make(0, 16, 30, 1, f->mm, &ret);
	KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
	KUNIT_EXPECT_NULL(test, tbl);
	expect_nothing_left(test);
}

/* Giving back may need memory to remember what: without it the leaf stays. */
static void reclaim_without_memory(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommu_table *tbl;
	unsigned long size;
	int ret;

	tbl = table_make(0, 16, 41, 3, f->mm, &ret);
	KUNIT_ASSERT_NOT_NULL(test, tbl);
	KUNIT_ASSERT_EQ(test, 0, user_set(tbl, 5, BIT(40) | RW, 0));
	user_clear(tbl, 5, 1);
	size = tbl->it_allocated_size;
	atomic_long_set(&iommu_levels_probe.fail_after, 0);
	iommu_levels_reclaim(tbl, 0, tbl->it_size);
	atomic_long_set(&iommu_levels_probe.fail_after, -1);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, size);
	KUNIT_EXPECT_EQ(test, 0, user_set(tbl, 5, BIT(40) | RW, 0));
	user_clear(tbl, 5, 1);
	iommu_levels_reclaim(tbl, 0, tbl->it_size);
	KUNIT_EXPECT_LT(test, tbl->it_allocated_size, size);
	expect_counted(test, tbl);
	iommu_tce_table_put(tbl);
}

/* ---- reclaim ---- */

static u64 *view_at(struct iommu_table *tbl, unsigned long idx)
{
	struct iommu_span span;

	guard(rcu)();
	iommu_levels_walk(tbl, idx, &span);
	return span.view;
}

static void reclaim_what(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long i, top, leaf = SZ_8K;
	const unsigned long locked = 512 + 5 * IOMMU_VIEW_LINE;
	struct iommu_table *tbl;
	long blocks;
	int ret;

	/* three levels of 512: a leaf is 8K, an indirect one 4K */
	tbl = table_make(0, 16, 43, 3, f->mm, &ret);
	KUNIT_ASSERT_NOT_NULL(test, tbl);
	KUNIT_ASSERT_EQ(test, tbl->it_level_size, 512UL);
	top = SZ_4K;

	KUNIT_ASSERT_EQ(test, 0, user_set(tbl, 512, BIT(40) | RW, 0));
	KUNIT_ASSERT_EQ(test, 0, user_set(tbl, 1024, BIT(40) | RW, 0));
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, top + SZ_4K + 2 * leaf);

	/* an entry in it, whatever part of the leaf is asked for */
	atomic_set(&kills, 0);
	iommu_levels_reclaim(tbl, 0, tbl->it_size);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, top + SZ_4K + 2 * leaf);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&kills));

	/* not wholly in the range */
	user_clear(tbl, 512, 512);
	iommu_levels_reclaim(tbl, 513, 511);
	iommu_levels_reclaim(tbl, 512, 511);
	iommu_levels_reclaim(tbl, 512, 0);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, top + SZ_4K + 2 * leaf);

	/* somebody has a line: the leaf stays as it was */
	WRITE_ONCE(*view_at(tbl, locked), IOMMU_VIEW_LOCK);
	iommu_levels_reclaim(tbl, 512, 512);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, top + SZ_4K + 2 * leaf);
	for (i = 512; i < 1024; i += IOMMU_VIEW_LINE)
		KUNIT_EXPECT_EQ(test, *view_at(tbl, i), i == locked ? IOMMU_VIEW_LOCK : 0);
	WRITE_ONCE(*view_at(tbl, locked), 0);

	/* just so; one invalidation, and nothing freed before it */
	rcu_barrier();
	blocks = atomic_long_read(&iommu_levels_probe.blocks);
	iommu_levels_reclaim(tbl, 512, 512);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, top + SZ_4K + leaf);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&kills));
	KUNIT_EXPECT_EQ(test, blocks, blocks_at_kill);
	expect_counted(test, tbl);

	/* the last leaf takes the level above with it */
	user_clear(tbl, 1024, 1);
	iommu_levels_reclaim(tbl, 1024, 512);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, top);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&kills));

	/* more than a batch holds */
	for (i = 0; i < 1000; i++)
		KUNIT_ASSERT_EQ(test, 0, user_set(tbl, i * 512 + i % 512, BIT(40) | RW, 0));
	expect_counted(test, tbl);
	user_clear(tbl, 0, tbl->it_size);
	/* nothing for a task that is being killed */
	atomic_set(&kills, 0);
	sigaddset(&current->pending.signal, SIGKILL);
	set_thread_flag(TIF_SIGPENDING);
	iommu_levels_reclaim(tbl, 0, tbl->it_size);
	sigdelset(&current->pending.signal, SIGKILL);
	clear_thread_flag(TIF_SIGPENDING);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&kills));
	expect_counted(test, tbl);
	iommu_levels_reclaim(tbl, 0, tbl->it_size);
	KUNIT_EXPECT_EQ(test, tbl->it_allocated_size, top);
	/* In steps, between which the lock is free; a batch has room for many more. */
	KUNIT_EXPECT_GE(test, atomic_read(&kills), 1000 / 64);
	expect_counted(test, tbl);
	iommu_tce_table_put(tbl);
}

/* ---- races ---- */

#define THREADS		4

struct race {
	struct iommu_table *tbl;
	atomic_t ready, running, wrong;
	int (*fn)(struct race *race, int nr);
};

struct racer {
	struct race *race;
	int nr;
	struct completion done;
};

static int racer_fn(void *arg)
{
	struct racer *r = arg;
	struct race *race = r->race;

	atomic_dec(&race->ready);
	while (atomic_read(&race->ready) > 0)
		cond_resched();
	if (race->fn(race, r->nr))
		atomic_inc(&race->wrong);
	atomic_dec(&race->running);
	complete(&r->done);
	return 0;
}

static void race_run(struct kunit *test, struct race *race, int threads)
{
	struct racer *r = kunit_kcalloc(test, threads, sizeof(*r), GFP_KERNEL);
	struct task_struct *task;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, r);
	atomic_set(&race->ready, threads);
	atomic_set(&race->running, threads);
	for (i = 0; i < threads; i++) {
		r[i].race = race;
		r[i].nr = i;
		init_completion(&r[i].done);
		task = kthread_run(racer_fn, &r[i], "tce-race/%d", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	}
	for (i = 0; i < threads; i++)
		wait_for_completion(&r[i].done);
	KUNIT_EXPECT_EQ(test, atomic_read(&race->wrong), 0);
	kunit_kfree(test, r);
}

/* All threads want the same leaves at the same time. */
static int grow_same(struct race *race, int nr)
{
	struct iommu_table *tbl = race->tbl;
	unsigned long i, idx;
	int ret = 0;

	for (i = 0; i < 64 && !ret; i++) {
		idx = (i * 0x9e3779b97f4a7c15UL >> 20) % tbl->it_size;
		idx = round_down(idx, 8) + nr;
		if (tbl->it_mm)
			ret = user_set(tbl, idx, ((idx + 1) << 12) | RW, 0);
		else
			ret = tbl->it_ops->set(tbl, idx, 1,
					       (unsigned long)__va((idx + 1) << 12),
					       DMA_BIDIRECTIONAL, 0);
	}
	return ret;
}

static void race_missing_levels(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long i, idx, t;
	struct race race = { .fn = grow_same };
	struct tve tve;
	int round, ret;

	for (round = 0; round < 60; round++) {
		race.tbl = table_make(0, 12, 40, 2 + round % 3, round & 1 ? f->mm : NULL, &ret);
		KUNIT_ASSERT_NOT_NULL(test, race.tbl);
		race_run(test, &race, THREADS);
		tve = table_tve(race.tbl);
		for (i = 0; i < 64; i++)
			for (t = 0; t < THREADS; t++) {
				idx = (i * 0x9e3779b97f4a7c15UL >> 20) % race.tbl->it_size;
				idx = round_down(idx, 8) + t;
				KUNIT_ASSERT_EQ(test, hw_walk(&tve, idx << 12),
						(u64)((idx + 1) << 12 | RW));
			}
		expect_counted(test, race.tbl);
		iommu_tce_table_put(race.tbl);
	}
}

#define RECLAIM_WANT	100		/* times that something was given back */
#define RECLAIM_OPS	2000000		/* give up */

/* Thread 0 gives back, thread 1 reads, the others set, look, clear and look. */
static int reclaim_against(struct race *race, int nr)
{
	struct iommu_table *tbl = race->tbl;
	unsigned long n, idx, got;
	struct rnd_state rnd;
	u64 tce, word;

	prandom_seed_state(&rnd, nr);
	if (!nr) {
		while (atomic_read(&race->running) > 2) {
			iommu_levels_reclaim(tbl, 0, tbl->it_size);
			cond_resched();
		}
		return 0;
	}
	if (nr == 1) {
		while (atomic_read(&race->running) > 2) {
			idx = prandom_u32_state(&rnd) % 2048;
			got = user_get(tbl, idx, &word);
			/* nothing, or what somebody sets there */
			if (got && got != (((idx + 1) << 16) | RW))
				return -1;
			cond_resched();
		}
		return 0;
	}
	for (n = 0; n < RECLAIM_OPS && atomic_read(&kills) < RECLAIM_WANT; n++) {
		/* four leaves, and entries of one's own in each */
		idx = (prandom_u32_state(&rnd) % 512) * 4 + nr;
		tce = ((idx + 1) << 16) | RW;
		if (user_set(tbl, idx, tce, idx << 16) ||
		    user_get(tbl, idx, &word) != tce ||
		    word != ((idx << 16) | IOMMU_VIEW_LIVE))
			return -1;
		user_clear(tbl, idx, 1);
		if (user_get(tbl, idx, &word) || (word & IOMMU_VIEW_LIVE))
			return -1;
		/* who gives back must get to run, however few CPUs there are */
		if (n % 256 == 0)
			schedule_timeout_uninterruptible(1);
		else
			cond_resched();
	}
	return 0;
}

static void race_reclaim(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct race race = { .fn = reclaim_against };
	int ret;

	race.tbl = table_make(0, 16, 43, 3, f->mm, &ret);
	KUNIT_ASSERT_NOT_NULL(test, race.tbl);
	atomic_set(&kills, 0);
	race_run(test, &race, 4);
	KUNIT_EXPECT_GE(test, atomic_read(&kills), RECLAIM_WANT);
	expect_counted(test, race.tbl);
	iommu_levels_reclaim(race.tbl, 0, race.tbl->it_size);
	KUNIT_EXPECT_EQ(test, race.tbl->it_allocated_size, (unsigned long)SZ_4K);
	expect_counted(test, race.tbl);
	iommu_tce_table_put(race.tbl);
}

/* ---- groups ---- */

struct fake_phb {
	struct pnv_phb phb;
	struct pnv_ioda_pe pe;
	__be64 regs[0x1000 / 8];
};

static struct fake_phb *fake_phb3(struct kunit *test, unsigned int pe_number)
{
	struct fake_phb *fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fake);
	fake->phb.model = PNV_PHB_MODEL_PHB3;
	fake->phb.regs = (void __iomem *)fake->regs;
	fake->phb.regs_phys = __pa(fake->regs);
	fake->pe.phb = &fake->phb;
	fake->pe.pe_number = pe_number;
	return fake;
}

static u64 fake_killed(struct fake_phb *fake)
{
	__be64 *reg = &fake->regs[PHB3_TCE_KILL / 8];
	u64 val = be64_to_cpu(READ_ONCE(*reg));

	WRITE_ONCE(*reg, 0);
	return val;
}

static void links(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_phb *a = fake_phb3(test, 1), *b = fake_phb3(test, 2);
	struct iommu_table *tbl, *other;
	int ret;

	tbl = table_make(0, 16, 31, 1, f->mm, &ret);
	other = table_make(0, 16, 31, 1, f->mm, &ret);
	KUNIT_ASSERT_TRUE(test, tbl && other);
	KUNIT_EXPECT_NULL(test, iommu_group_table_get(&a->pe.table_group, 0));
	KUNIT_EXPECT_EQ(test, 0L, pnv_pci_link_table_and_group(0, 0, tbl, &a->pe.table_group));
	KUNIT_EXPECT_EQ(test, 0L, pnv_pci_link_table_and_group(0, 1, tbl, &b->pe.table_group));
	/* a window that is there is not replaced, and its table not lost */
	KUNIT_EXPECT_EQ(test, (long)-EBUSY,
			pnv_pci_link_table_and_group(0, 0, other, &a->pe.table_group));
	KUNIT_EXPECT_EQ(test, 3U, kref_read(&tbl->it_kref));
	KUNIT_EXPECT_EQ(test, 1U, kref_read(&other->it_kref));
	KUNIT_EXPECT_PTR_EQ(test, tbl, iommu_group_table_get(&a->pe.table_group, 0));
	iommu_tce_table_put(tbl);
	KUNIT_EXPECT_NULL(test, iommu_group_table_get(&b->pe.table_group, 0));
	pnv_pci_unlink_table_and_group(0, &a->pe.table_group);
	KUNIT_EXPECT_NULL(test, iommu_group_table_get(&a->pe.table_group, 0));
	KUNIT_EXPECT_FALSE(test, list_empty(&tbl->it_group_list));
	pnv_pci_unlink_table_and_group(1, &b->pe.table_group);
	KUNIT_EXPECT_TRUE(test, list_empty(&tbl->it_group_list));
	KUNIT_EXPECT_EQ(test, 1U, kref_read(&tbl->it_kref));
	iommu_tce_table_put(tbl);
	iommu_tce_table_put(other);
}

#define LINK_ROUNDS	50000

static bool table_has_group(struct iommu_table *tbl, struct iommu_table_group *group)
{
	struct iommu_table_group_link *tgl;
	bool found = false;

	rcu_read_lock();
	list_for_each_entry_rcu(tgl, &tbl->it_group_list, next)
		found |= tgl->table_group == group;
	rcu_read_unlock();
	return found;
}

/* A group of its own enters and leaves the table again and again. */
static int link_own(struct race *race, int nr)
{
	struct iommu_table_group group = {};
	int i;

	for (i = 0; i < LINK_ROUNDS; i++) {
		if (pnv_pci_link_table_and_group(NUMA_NO_NODE, 0, race->tbl, &group) ||
		    !table_has_group(race->tbl, &group))
			return -1;
		pnv_pci_unlink_table_and_group(0, &group);
		cond_resched();
	}
	return 0;
}

/* The groups of a table have no lock in common. */
static void race_links(struct kunit *test)
{
	struct race race = { .fn = link_own };
	int ret;

	race.tbl = table_make(0, 16, 31, 1, NULL, &ret);
	KUNIT_ASSERT_NOT_NULL(test, race.tbl);
	race_run(test, &race, THREADS);
	KUNIT_EXPECT_TRUE(test, list_empty(&race.tbl->it_group_list));
	KUNIT_EXPECT_EQ(test, 1U, kref_read(&race.tbl->it_kref));
	iommu_tce_table_put(race.tbl);
}

/*
 * Who has found a table under RCU may look at it until the section ends, and finds that
 * it can't be had any more. Memory that is free is the next that is given out.
 */
static void freed_after_readers(struct kunit *test)
{
	struct iommu_table *tbl;
	void *other[8];
	int ret, i;

	tbl = table_make(0, 16, 31, 1, NULL, &ret);
	KUNIT_ASSERT_NOT_NULL(test, tbl);
	preempt_disable();
	rcu_read_lock();
	iommu_tce_table_put(tbl);
	for (i = 0; i < ARRAY_SIZE(other); i++)
		other[i] = kmalloc_obj(*tbl, GFP_ATOMIC);
	ret = !iommu_tce_table_get(tbl);
	rcu_read_unlock();
	preempt_enable();
	KUNIT_EXPECT_TRUE(test, ret);
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		KUNIT_EXPECT_PTR_NE(test, (void *)tbl, other[i]);
		kfree(other[i]);
	}
}

struct links_race {
	struct race race;
	struct iommu_table_group group;
	struct mm_struct *mm;
};

/* Thread 0 opens and closes the window, the other takes whatever is there. */
static int get_against_unlink(struct race *race, int nr)
{
	struct links_race *lr = container_of(race, struct links_race, race);
	struct iommu_table *tbl;
	int n, ret;

	for (n = 0; !nr && n < 500; n++) {
		tbl = table_make(0, 16, 31, 2, lr->mm, &ret);
		if (!tbl || pnv_pci_link_table_and_group(0, 0, tbl, &lr->group))
			return -1;
		iommu_tce_table_put(tbl);
		cond_resched();
		pnv_pci_unlink_table_and_group(0, &lr->group);
	}
	while (nr && atomic_read(&race->running) > 1) {
		tbl = iommu_group_table_get(&lr->group, 0);
		if (tbl) {
			if (iommu_tce_table_check_mm(tbl, lr->mm) || tbl->it_size != BIT(15))
				return -1;
			iommu_tce_table_put(tbl);
		}
		cond_resched();
	}
	return 0;
}

static void race_get_table(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct links_race *lr = kunit_kzalloc(test, sizeof(*lr), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, lr);
	lr->mm = f->mm;
	lr->race.fn = get_against_unlink;
	race_run(test, &lr->race, 2);
}

static void kill_real(struct iommu_table *tbl, unsigned long index, unsigned long pages)
{
	call_real(pnv_phb3_tce_kill_rm, (unsigned long)tbl, index, pages, 0, 0, 0);
}

/* The PHB3's register, in memory: the last store to it, for both groups. */
static void phb3_kill(struct kunit *test)
{
	const unsigned long off = BIT(59) >> 16;
	struct fixture *f = test->priv;
	struct fake_phb *a = fake_phb3(test, 0x12), *b = fake_phb3(test, 0x34);
	const u64 pe = PHB3_TCE_KILL_PE, one = PHB3_TCE_KILL_ONE;
	struct iommu_table *tbl;
	int ret, rm;

	KUNIT_EXPECT_PTR_NE(test, pnv_pci_table_ops(&a->phb)->tce_kill_rm, NULL);
	a->phb.model = PNV_PHB_MODEL_UNKNOWN;
	KUNIT_EXPECT_PTR_EQ(test, pnv_pci_table_ops(&a->phb)->tce_kill_rm, NULL);
	a->phb.model = PNV_PHB_MODEL_PHB3;

	tbl = table_make(1, 16, 41, 2, f->mm, &ret);
	KUNIT_ASSERT_NOT_NULL(test, tbl);
	KUNIT_ASSERT_EQ(test, 0L, pnv_pci_link_table_and_group(0, 1, tbl, &a->pe.table_group));
	KUNIT_ASSERT_EQ(test, 0L, pnv_pci_link_table_and_group(0, 1, tbl, &b->pe.table_group));

	for (rm = 0; rm < (no_real_mode() ? 1 : 2); rm++) {
		void (*kill)(struct iommu_table *tbl, unsigned long index, unsigned long pages) =
			rm ? kill_real : pnv_pci_ioda2_tce_kill;

		kill(tbl, off + 5, 0);
		KUNIT_EXPECT_EQ(test, fake_killed(a), 0ULL);
		kill(tbl, off + 5, 1);
		KUNIT_EXPECT_EQ(test, fake_killed(a), one | 0x12 | BIT(59) | 5 << 16);
		KUNIT_EXPECT_EQ(test, fake_killed(b), one | 0x34 | BIT(59) | 5 << 16);
		kill(tbl, off, PNV_TCE_KILL_MAX_PAGES);
		KUNIT_EXPECT_EQ(test, fake_killed(b),
				one | 0x34 | BIT(59) | (PNV_TCE_KILL_MAX_PAGES - 1) << 16);
		fake_killed(a);
		kill(tbl, off, PNV_TCE_KILL_MAX_PAGES + 1);
		KUNIT_EXPECT_EQ(test, fake_killed(a), pe | 0x12);
		kill(tbl, off, tbl->it_size);
		KUNIT_EXPECT_EQ(test, fake_killed(a), pe | 0x12);
		KUNIT_EXPECT_EQ(test, fake_killed(b), pe | 0x34);
	}
	pnv_pci_ioda2_tce_kill_pe(&a->pe);
	KUNIT_EXPECT_EQ(test, fake_killed(a), pe | 0x12);
	KUNIT_EXPECT_EQ(test, fake_killed(b), 0ULL);

	pnv_pci_unlink_table_and_group(1, &a->pe.table_group);
	pnv_pci_unlink_table_and_group(1, &b->pe.table_group);
	iommu_tce_table_put(tbl);
}

/* ---- price ---- */

#define BENCH_TCES	16384UL

static s64 per_tce(ktime_t from, ktime_t to)
{
	return ktime_to_ns(ktime_sub(to, from)) * 100 / BENCH_TCES;
}

static void price(struct kunit *test)
{
	static const unsigned int levels[] = { 1, 2, 4 };
	struct fake_phb *a = fake_phb3(test, 1);
	struct iommu_table *tbl;
	unsigned long uaddr = (unsigned long)__va(SZ_1G);
	ktime_t t[5];
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(levels); i++) {
		tbl = table_make(0, 16, 31 + i * 6, levels[i], NULL, &ret);
		KUNIT_ASSERT_NOT_NULL(test, tbl);
		tbl->it_ops = pnv_pci_table_ops(&a->phb);
		KUNIT_ASSERT_EQ(test, 0L,
				pnv_pci_link_table_and_group(0, 0, tbl, &a->pe.table_group));
		t[0] = ktime_get();
		KUNIT_ASSERT_EQ(test, 0, tbl->it_ops->set(tbl, 0, BENCH_TCES, uaddr,
							  DMA_BIDIRECTIONAL, 0));
		t[1] = ktime_get();
		KUNIT_ASSERT_EQ(test, 0, tbl->it_ops->set(tbl, 0, BENCH_TCES, uaddr,
							  DMA_BIDIRECTIONAL, 0));
		t[2] = ktime_get();
		tbl->it_ops->clear(tbl, 0, BENCH_TCES);
		t[3] = ktime_get();
		KUNIT_ASSERT_EQ(test, 0, tbl->it_ops->set(tbl, 0, BENCH_TCES, uaddr,
							  DMA_BIDIRECTIONAL, 0));
		t[4] = ktime_get();
		bench_row(test, "tce.grow_and_set", levels[i], per_tce(t[0], t[1]));
		bench_row(test, "tce.replace", levels[i], per_tce(t[1], t[2]));
		bench_row(test, "tce.clear", levels[i], per_tce(t[2], t[3]));
		bench_row(test, "tce.set", levels[i], per_tce(t[3], t[4]));
		pnv_pci_unlink_table_and_group(0, &a->pe.table_group);
		iommu_tce_table_put(tbl);
	}
}

static struct kunit_case tce_test_cases[] = {
	KUNIT_CASE_PARAM_ATTR(all_combinations, page_shift_gen_params, {.speed = KUNIT_SPEED_SLOW}),
	KUNIT_CASE(refused_shapes),
	KUNIT_CASE(five_levels),
	KUNIT_CASE(view_only),
	KUNIT_CASE(worked_example),
	KUNIT_CASE(two_tib),
	KUNIT_CASE(charges),
	KUNIT_CASE(owner),
	KUNIT_CASE(allocation_failures),
	KUNIT_CASE(halves),
	KUNIT_CASE(reclaim_without_memory),
	KUNIT_CASE(reclaim_what),
	KUNIT_CASE(race_missing_levels),
	KUNIT_CASE(race_reclaim),
	KUNIT_CASE(links),
	KUNIT_CASE(race_links),
	KUNIT_CASE(freed_after_readers),
	KUNIT_CASE(race_get_table),
	KUNIT_CASE(phb3_kill),
	KUNIT_CASE(price),
	{}
};

static struct kunit_suite tce_test_suite = {
	.name = "pci_ioda_tce",
	.init = tce_test_init,
	.exit = tce_test_exit,
	.test_cases = tce_test_cases,
};

kunit_test_suite(tce_test_suite);

MODULE_DESCRIPTION("KUnit tests for PowerNV TCE tables");
MODULE_LICENSE("GPL");
