// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tests of paging domains on TCE tables.
 *
 * Domains are driven by the IOMMU core's iommu_map() and iommu_unmap(). The oracle is a
 * flat array over some stretches of the aperture: its ends, and places where an
 * index carries into each level. Whatever the domain says of an IOVA, and whatever
 * a device reaches there, must be what the array says.
 *
 * A device is struct fake_group: a window as the firmware is told of it, and caches of
 * TCEs and of links, which only an invalidation empties. So an unmap that comes without
 * one, or a level that is freed while the hardware still knows it, is seen: freed
 * levels are poisoned, and poison reads as a valid TCE.
 *
 * The code under test is built into this file once more, by other names and instrumented.
 */
#define spapr_tce_domain_alloc		kunit_spapr_tce_domain_alloc
#define spapr_tce_domain_leave		kunit_spapr_tce_domain_leave
#define spapr_tce_domain_attach		kunit_spapr_tce_domain_attach
#define spapr_tce_get_resv_regions	kunit_spapr_tce_get_resv_regions

#include "../../platforms/powernv/tests/iommu_levels_kunit.h"
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/prandom.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/iommu.h>
#include <asm/iommu_domain.h>
#include <asm/iommu_levels.h>
#include <asm/tce.h>
#include "../../platforms/powernv/pci.h"
#include "../iommu_domain.c"

#define RW		(TCE_PCI_READ | TCE_PCI_WRITE)
#define APERTURE	BIT(50)
#define LEVELS		4
#define LEAF		BIT(LEVEL_SHIFT)	/* entries */

#define TLB_SIZE	1024

struct fake_group {
	struct iommu_table_group tg;
	struct iommu_table *host;	/* the host's own */
	unsigned long host_map;		/* what tells so */
	bool taken;
	int set_fails, unset_fails;	/* what the firmware answers */
	int refuses;			/* what it answers to all but this one */
	struct iommu_table *accepts;
	unsigned int windows;		/* set so far */
	/* the hardware, which walks and forgets one after the other */
	spinlock_t hw;
	unsigned long root;		/* physical; 0: no window */
	unsigned long level_shift;
	bool caches;			/* anything */
	/* holes are cached, too */
	struct {
		bool there;
		unsigned long idx;
		u64 tce;
	} tlb[TLB_SIZE];
	struct {
		bool there;
		unsigned long prefix;
		u64 link;
	} links[TLB_SIZE];
};

static struct fake_group *to_fake(struct iommu_table_group *tg)
{
	return container_of(tg, struct fake_group, tg);
}

static void tlb_empty(struct fake_group *g)
{
	spin_lock(&g->hw);
	memset(g->tlb, 0, sizeof(g->tlb));
	memset(g->links, 0, sizeof(g->links));
	g->caches = false;
	spin_unlock(&g->hw);
}

/* The leaf of an entry, by the cache of links or by a walk; 0: a hole. */
static u64 hw_leaf(struct fake_group *g, unsigned long idx)
{
	unsigned long prefix = idx >> g->level_shift, shift;
	unsigned int at = prefix % TLB_SIZE;
	u64 link = g->root | RW;

	if (g->links[at].there && g->links[at].prefix == prefix)
		return g->links[at].link;
	for (shift = (LEVELS - 1) * g->level_shift; link && shift; shift -= g->level_shift) {
		__be64 *block = __va(link & ~0xfffUL);

		link = be64_to_cpu(READ_ONCE(block[(idx >> shift) & (BIT(g->level_shift) - 1)]));
		if (!(link & RW))
			link = 0;
	}
	g->caches = true;
	g->links[at].there = true;
	g->links[at].prefix = prefix;
	g->links[at].link = link;
	return link;
}

static u64 hw_walk(struct fake_group *g, unsigned long idx)
{
	unsigned int at = idx % TLB_SIZE;
	u64 leaf, tce = 0;
	__be64 *tces;

	if (!g->root)
		return 0;
	if (g->tlb[at].there && g->tlb[at].idx == idx)
		return g->tlb[at].tce;
	leaf = hw_leaf(g, idx);
	if (leaf) {
		tces = __va(leaf & ~0xfffUL);
		tce = be64_to_cpu(READ_ONCE(tces[idx & (BIT(g->level_shift) - 1)]));
	}
	if (!(tce & RW))
		tce = 0;
	g->tlb[at].there = true;
	g->tlb[at].idx = idx;
	g->tlb[at].tce = tce;
	return tce;
}

/* What a device reaches at an entry; 0: refused. */
static u64 hw_read(struct fake_group *g, unsigned long idx)
{
	u64 tce;

	spin_lock(&g->hw);
	tce = hw_walk(g, idx);
	spin_unlock(&g->hw);
	return tce;
}

static atomic_t kills;

static void hw_forget(struct fake_group *g, unsigned long index, unsigned long pages)
{
	unsigned int i;

	for (i = 0; g->caches && i < TLB_SIZE; i++) {
		if (g->tlb[i].idx - index < pages)
			g->tlb[i].there = false;
		/* a link goes if any of what it leads to does */
		if ((g->links[i].prefix + 1) << g->level_shift > index &&
		    g->links[i].prefix << g->level_shift < index + pages)
			g->links[i].there = false;
	}
}

static void fake_kill(struct iommu_table *tbl, unsigned long index, unsigned long pages)
{
	struct iommu_table_group_link *tgl;
	struct fake_group *g;

	atomic_inc(&kills);
	rcu_read_lock();
	list_for_each_entry_rcu(tgl, &tbl->it_group_list, next) {
		g = to_fake(tgl->table_group);
		spin_lock(&g->hw);
		hw_forget(g, index, pages);
		spin_unlock(&g->hw);
	}
	rcu_read_unlock();
}

static struct iommu_table_ops fake_table_ops = {
	.tce_kill = fake_kill,
	.free = iommu_levels_destroy,
};

static struct iommu_table *fake_table(struct iommu_table_ops *ops)
{
	struct iommu_table *tbl = kzalloc_obj(*tbl);

	if (tbl) {
		INIT_LIST_HEAD_RCU(&tbl->it_group_list);
		kref_init(&tbl->it_kref);
		tbl->it_ops = ops;
	}
	return tbl;
}

static long fake_create(struct iommu_table_group *tg, int num, __u32 page_shift,
			__u64 window_size, __u32 levels, struct mm_struct *mm,
			struct iommu_table **ptbl)
{
	struct iommu_table *tbl = fake_table(&fake_table_ops);
	int ret;

	if (!tbl)
		return -ENOMEM;
	tbl->it_domain = !mm;
	ret = pnv_pci_ioda2_table_init(tbl, NUMA_NO_NODE, 0, page_shift, window_size, levels, mm);
	if (ret) {
		iommu_tce_table_put(tbl);
		return ret;
	}
	*ptbl = tbl;
	return 0;
}

static long fake_set_window(struct iommu_table_group *tg, int num, struct iommu_table *tbl)
{
	struct fake_group *g = to_fake(tg);
	long ret;

	if (g->set_fails)
		return g->set_fails;
	if (g->refuses && tbl != g->accepts)
		return g->refuses;
	ret = pnv_pci_link_table_and_group(NUMA_NO_NODE, num, tbl, tg);
	if (ret)
		return ret;
	g->windows++;
	g->root = __pa(tbl->it_root);
	g->level_shift = ilog2(tbl->it_level_size);
	return 0;
}

static long fake_unset_window(struct iommu_table_group *tg, int num)
{
	struct fake_group *g = to_fake(tg);

	if (g->unset_fails)
		return g->unset_fails;
	g->root = 0;
	tlb_empty(g);
	pnv_pci_unlink_table_and_group(num, tg);
	return 0;
}

static long fake_take(struct iommu_table_group *tg, struct device *dev)
{
	struct fake_group *g = to_fake(tg);

	if (tg->tables[0] == g->host)
		tg->tables[0] = NULL;
	g->taken = true;
	return 0;
}

static void fake_release(struct iommu_table_group *tg, struct device *dev)
{
	struct fake_group *g = to_fake(tg);

	if (tg->tables[0])
		return;
	tg->tables[0] = g->host;
	g->taken = false;
}

static struct iommu_table_group_ops fake_ops = {
	.shares_tables = true,
	.create_table = fake_create,
	.set_window = fake_set_window,
	.unset_window = fake_unset_window,
	.take_ownership = fake_take,
	.release_ownership = fake_release,
};

#define GROUPS	3

struct fixture {
	struct rnd_state rnd;
	long blocks, bytes;		/* of other tables */
	struct fake_group *group[GROUPS];
};

static struct fake_group *group_make(struct kunit *test)
{
	struct fake_group *g = kunit_kzalloc(test, sizeof(*g), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, g);
	spin_lock_init(&g->hw);
	g->host = fake_table(&fake_table_ops);
	KUNIT_ASSERT_NOT_NULL(test, g->host);
	g->host->it_map = &g->host_map;
	g->tg.ops = &fake_ops;
	g->tg.pgsizes = SZ_4K | SZ_64K;
	g->tg.max_levels = POWERNV_IOMMU_MAX_LEVELS;
	g->tg.tables[0] = g->host;
	return g;
}

static int domain_test_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	prandom_seed_state(&f->rnd, 20261126);
	for (i = 0; i < GROUPS; i++)
		f->group[i] = group_make(test);
	rcu_barrier();
	f->blocks = atomic_long_read(&iommu_levels_probe.blocks);
	f->bytes = atomic_long_read(&iommu_levels_probe.bytes);
	iommu_levels_probe.poison = true;
	return 0;
}

static void domain_test_exit(struct kunit *test)
{
	struct fixture *f = test->priv;
	int i;

	iommu_levels_probe.poison = false;
	atomic_long_set(&iommu_levels_probe.fail_after, -1);
	if (!f)
		return;
	rcu_barrier();
	KUNIT_EXPECT_EQ(test, atomic_long_read(&iommu_levels_probe.blocks), f->blocks);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&iommu_levels_probe.bytes), f->bytes);
	for (i = 0; i < GROUPS; i++) {
		if (!f->group[i])
			continue;
		KUNIT_EXPECT_EQ(test, kref_read(&f->group[i]->host->it_kref), 1);
		f->group[i]->host->it_map = NULL;
		iommu_tce_table_put(f->group[i]->host);
	}
}

/* As the core's __iommu_domain_alloc() leaves it. */
static struct iommu_domain *domain_make(struct fake_group *g)
{
	struct iommu_domain *domain = group_domain_alloc(&g->tg);

	if (!IS_ERR(domain))
		domain->type = IOMMU_DOMAIN_UNMANAGED;
	return domain;
}

static void tree_count(struct iommu_table *tbl, __be64 *block, unsigned int level,
		       long *blocks)
{
	unsigned long i, link;

	++*blocks;
	for (i = 0; level && i < tbl->it_level_size; i++) {
		link = be64_to_cpu(block[i]);
		if (link & RW)
			tree_count(tbl, __va(link & ~0xfffUL), level - 1, blocks);
	}
}

/* Every level is linked, and the table knows what it has. Returns their number. */
static long expect_counted(struct kunit *test, struct iommu_table *tbl)
{
	struct fixture *f = test->priv;
	long blocks = 0, bytes;

	rcu_barrier();
	tree_count(tbl, tbl->it_root, tbl->it_indirect_levels, &blocks);
	bytes = blocks * tbl->it_level_size * sizeof(u64);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&iommu_levels_probe.blocks), f->blocks + blocks);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&iommu_levels_probe.bytes), f->bytes + bytes);
	KUNIT_EXPECT_EQ(test, (long)tbl->it_allocated_size, bytes);
	return blocks;
}

/* ---- the flat array ---- */

#define STRETCHES	6
#define STRETCH		(16 * LEAF)

struct model {
	struct iommu_domain *domain;
	unsigned long start[STRETCHES];		/* entries */
	u64 tce[STRETCHES][STRETCH];
};

static u32 rnd(struct kunit *test, u32 below)
{
	struct fixture *f = test->priv;

	return prandom_u32_state(&f->rnd) % below;
}

/* A length that is as often small as large. */
static unsigned long rnd_len(struct kunit *test, unsigned long most)
{
	return min(most, 1 + rnd(test, 1U << rnd(test, ilog2(STRETCH) + 1)));
}

static void model_place(struct model *m)
{
	const unsigned long size = APERTURE >> PAGE_SHIFT;
	unsigned int i, l = 0;

	m->start[l++] = 0;
	m->start[l++] = size - STRETCH;
	/* across a carry into each level, not aligned to a leaf */
	for (i = 1; i < LEVELS; i++)
		m->start[l++] = BIT(i * LEVEL_SHIFT) * 3 - 7 + (i > 1 ? -(STRETCH / 2) : STRETCH);
	m->start[l++] = size / 2 + 5;
}

static unsigned long iova_of(struct model *m, unsigned int s, unsigned long i)
{
	return (m->start[s] + i) << PAGE_SHIFT;
}

static void model_check(struct kunit *test, struct model *m, struct fake_group *g,
			unsigned int s, unsigned long i)
{
	u64 want = m->tce[s][i];
	unsigned long at = rnd(test, PAGE_SIZE);
	phys_addr_t pa = iommu_iova_to_phys(m->domain, iova_of(m, s, i) + at);

	KUNIT_EXPECT_EQ(test, pa, want ? (want & PAGE_MASK) | at : 0);
	KUNIT_EXPECT_EQ(test, hw_read(g, m->start[s] + i), want);
}

/* Every @step'th entry. */
static void model_check_all(struct kunit *test, struct model *m, struct fake_group *g,
			    unsigned int step)
{
	unsigned long i;
	unsigned int s;

	for (s = 0; s < STRETCHES; s++)
		for (i = 0; i < STRETCH && test->status != KUNIT_FAILURE; i += step)
			model_check(test, m, g, s, i);
}

static unsigned long model_mapped(struct model *m, unsigned int s, unsigned long i,
				  unsigned long n)
{
	unsigned long k;

	for (k = 0; k < n && m->tce[s][i + k]; k++)
		;
	return k;
}

static int model_map(struct kunit *test, struct model *m, unsigned int s, unsigned long i,
		     unsigned long n)
{
	static const int prots[] = {
		IOMMU_READ, IOMMU_WRITE, IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE,
	};
	int prot = prots[rnd(test, ARRAY_SIZE(prots))], ret;
	u64 pa = (u64)rnd(test, BIT(24)) << PAGE_SHIFT;
	unsigned long k;

	ret = iommu_map(m->domain, iova_of(m, s, i), pa, n << PAGE_SHIFT, prot,
			GFP_KERNEL_ACCOUNT);
	for (k = 0; !ret && k < n; k++)
		m->tce[s][i + k] = (pa + (k << PAGE_SHIFT)) |
				   (prot & IOMMU_WRITE ? RW : TCE_PCI_READ);
	return ret;
}

static void model_unmap(struct kunit *test, struct model *m, unsigned int s, unsigned long i,
			unsigned long n)
{
	unsigned long mapped = model_mapped(m, s, i, n);

	KUNIT_EXPECT_EQ(test, iommu_unmap(m->domain, iova_of(m, s, i), n << PAGE_SHIFT),
			mapped << PAGE_SHIFT);
	memset(&m->tce[s][i], 0, mapped * sizeof(u64));
}

static struct model *model_make(struct kunit *test, struct fake_group *g)
{
	struct model *m = vzalloc(sizeof(*m));

	KUNIT_ASSERT_NOT_NULL(test, m);
	model_place(m);
	m->domain = domain_make(g);
	KUNIT_ASSERT_FALSE(test, IS_ERR(m->domain));
	KUNIT_ASSERT_EQ(test, group_attach(&g->tg, domain_table(m->domain), NULL), 0);
	return m;
}

static void model_free(struct kunit *test, struct model *m, struct fake_group *g)
{
	KUNIT_EXPECT_EQ(test, spapr_tce_domain_leave(&g->tg), 0);
	KUNIT_EXPECT_EQ(test, hw_read(g, m->start[0]), 0);
	fake_release(&g->tg, NULL);
	iommu_domain_free(m->domain);
	vfree(m);
}

static void properties(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_group *g = f->group[0];
	struct iommu_domain *domain = domain_make(g);

	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, domain->pgsize_bitmap, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, domain->geometry.aperture_start, 0);
	KUNIT_EXPECT_EQ(test, domain->geometry.aperture_end, APERTURE - 1);
	KUNIT_EXPECT_TRUE(test, domain->geometry.force_aperture);
	KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, 0), 0);
	KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, APERTURE), 0);
	/* no permission is none that a TCE has */
	KUNIT_EXPECT_EQ(test, iommu_map(domain, 0, 0, PAGE_SIZE, IOMMU_CACHE, GFP_KERNEL),
			-EINVAL);
	/* physical address 0 is mapped like any other */
	KUNIT_EXPECT_EQ(test, iommu_map(domain, 0, 0, PAGE_SIZE, IOMMU_READ, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, 0, PAGE_SIZE), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, 0, PAGE_SIZE), 0);
	iommu_domain_free(domain);

	g->tg.ops = NULL;
	KUNIT_EXPECT_PTR_EQ(test, domain_make(g), ERR_PTR(-EOPNOTSUPP));
	KUNIT_EXPECT_PTR_EQ(test, group_domain_alloc(NULL), ERR_PTR(-EOPNOTSUPP));
	g->tg.ops = &fake_ops;
}

static void random_ops(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_group *g = f->group[0];
	struct model *m = model_make(test, g);
	unsigned int op, s, k;
	unsigned long i, n;

	for (op = 0; op < 3000 && test->status != KUNIT_FAILURE; op++) {
		s = rnd(test, STRETCHES);
		i = rnd(test, STRETCH);
		n = rnd_len(test, STRETCH - i);
		/* the IOMMU API maps only what is not mapped */
		for (k = 0; k < n && !m->tce[s][i + k]; k++)
			;
		if (k)
			KUNIT_EXPECT_EQ(test, model_map(test, m, s, i, k), 0);
		else
			model_unmap(test, m, s, i, n);
		for (k = 0; k < 8; k++)
			model_check(test, m, g, s, min(i + rnd(test, n + 1), STRETCH - 1));
		for (k = 0; k < 8; k++)
			model_check(test, m, g, rnd(test, STRETCHES), rnd(test, STRETCH));
		if (op % 500 == 0)
			expect_counted(test, g->tg.tables[0]);
	}
	model_check_all(test, m, g, 1);
	expect_counted(test, g->tg.tables[0]);

	for (s = 0; s < STRETCHES; s++)
		for (i = 0; i < STRETCH; i += n ?: 1) {
			n = model_mapped(m, s, i, STRETCH - i);
			if (n)
				model_unmap(test, m, s, i, n);
		}
	model_check_all(test, m, g, 1);
	expect_counted(test, g->tg.tables[0]);
	model_free(test, m, g);
}

static int map_ro(struct model *m, unsigned long iova, size_t size)
{
	return iommu_map(m->domain, iova, 0, size, IOMMU_READ, GFP_KERNEL);
}

/* What lies wholly in an unmapped range goes, and nothing else. */
static void levels_go(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_group *g = f->group[0];
	struct model *m = model_make(test, g);
	struct iommu_table *tbl = g->tg.tables[0];
	const unsigned long indirect = LEAF * LEAF << PAGE_SHIFT;
	const unsigned long leaf = LEAF << PAGE_SHIFT;
	int was;

	KUNIT_ASSERT_EQ(test, tbl->it_level_size, LEAF);
	KUNIT_EXPECT_EQ(test, expect_counted(test, tbl), 1);

	/* the half of a leaf, two leaves, the half of a leaf: and two indirect levels */
	KUNIT_EXPECT_EQ(test, map_ro(m, leaf / 2, 3 * leaf), 0);
	KUNIT_EXPECT_EQ(test, expect_counted(test, tbl), 3 + 4);
	was = atomic_read(&kills);
	KUNIT_EXPECT_EQ(test, iommu_unmap(m->domain, leaf / 2, 3 * leaf), 3 * leaf);
	/* Freeing levels invalidates. Linux 7 calls iotlb_sync() for an empty gather, too. */
	KUNIT_EXPECT_GE(test, atomic_read(&kills), was + 1);
	KUNIT_EXPECT_LE(test, atomic_read(&kills), was + 2);
	KUNIT_EXPECT_EQ(test, expect_counted(test, tbl), 3 + 2);

	/* in two steps, neither of which has a whole leaf */
	KUNIT_EXPECT_EQ(test, map_ro(m, 2 * leaf, leaf), 0);
	KUNIT_EXPECT_EQ(test, expect_counted(test, tbl), 3 + 3);
	was = atomic_read(&kills);
	KUNIT_EXPECT_EQ(test, iommu_unmap(m->domain, 2 * leaf, leaf / 2), leaf / 2);
	KUNIT_EXPECT_EQ(test, iommu_unmap(m->domain, 5 * leaf / 2, leaf / 2), leaf / 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&kills), was + 2);
	KUNIT_EXPECT_EQ(test, expect_counted(test, tbl), 3 + 3);

	/* a whole indirect level, and one entry beyond */
	KUNIT_EXPECT_EQ(test, map_ro(m, indirect, indirect + PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, expect_counted(test, tbl), 3 + 3 + 1 + LEAF + 2);
	KUNIT_EXPECT_EQ(test, iommu_unmap(m->domain, indirect, indirect + PAGE_SIZE),
			indirect + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, expect_counted(test, tbl), 3 + 3 + 2);

	/* without memory for the list, levels stay, and the range is invalidated */
	KUNIT_EXPECT_EQ(test, map_ro(m, 3 * indirect, leaf), 0);
	KUNIT_EXPECT_NE(test, hw_read(g, 3 * LEAF * LEAF), 0);
	atomic_long_set(&iommu_levels_probe.fail_after, 0);
	KUNIT_EXPECT_EQ(test, iommu_unmap(m->domain, 3 * indirect, leaf), leaf);
	atomic_long_set(&iommu_levels_probe.fail_after, -1);
	KUNIT_EXPECT_EQ(test, hw_read(g, 3 * LEAF * LEAF), 0);
	KUNIT_EXPECT_EQ(test, expect_counted(test, tbl), 3 + 3 + 2 + 2);
	model_free(test, m, g);
}

/* Each allocation of a map fails once; the map leaves nothing mapped. */
static void failing_allocations(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_group *g = f->group[0];
	struct iommu_domain *domain;
	struct model *m;
	unsigned int n, s;
	int ret;

	atomic_long_set(&iommu_levels_probe.fail_after, 0);
	domain = domain_make(g);
	atomic_long_set(&iommu_levels_probe.fail_after, -1);
	KUNIT_EXPECT_PTR_EQ(test, domain, ERR_PTR(-ENOMEM));

	for (s = 0; s < STRETCHES; s++) {
		m = model_make(test, g);
		for (n = 0, ret = -ENOMEM; ret && n < 100 && test->status != KUNIT_FAILURE; n++) {
			atomic_long_set(&iommu_levels_probe.fail_after, n);
			ret = model_map(test, m, s, 3, STRETCH - 6);
			atomic_long_set(&iommu_levels_probe.fail_after, -1);
			if (ret) {
				KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
				model_check_all(test, m, g, 61);
			}
			expect_counted(test, g->tg.tables[0]);
		}
		KUNIT_EXPECT_EQ(test, ret, 0);
		/* at least one level each time but the last */
		KUNIT_EXPECT_GE(test, n, LEVELS);
		model_check_all(test, m, g, 1);
		model_free(test, m, g);
	}
}

/* ---- several at once, each in a range of its own ---- */

#define RACERS	4

struct racer {
	struct iommu_domain *domain;
	struct fake_group *g;
	struct completion done;
	unsigned int nr, wrong;
};

/*
 * Every racer has a page in each leaf, and now and then whole leaves of its own, in one
 * indirect level with the others'.
 */
static int racer(void *data)
{
	struct racer *r = data;
	struct rnd_state state;
	unsigned int op, n;
	unsigned long iova;
	u64 pa;

	prandom_seed_state(&state, r->nr);
	for (op = 0; op < 4000; op++) {
		u32 x = prandom_u32_state(&state);

		if (x & 7) {
			iova = (x >> 8) % 32 * LEAF + r->nr * 11;
			n = 1 + (x >> 3) % 11;
		} else {
			iova = (32 + r->nr * 8) * LEAF;
			n = 1 + (x >> 8) % (8 * LEAF);
		}
		iova <<= PAGE_SHIFT;
		pa = (u64)r->nr << 40 | (u64)op << 20;
		if (iommu_map(r->domain, iova, pa, n * PAGE_SIZE, IOMMU_READ, GFP_KERNEL)) {
			r->wrong++;
			continue;
		}
		if (iommu_iova_to_phys(r->domain, iova + (n - 1) * PAGE_SIZE) !=
		    pa + (n - 1) * PAGE_SIZE)
			r->wrong++;
		/* somebody else's: any answer but a page of nobody's */
		if (iommu_iova_to_phys(r->domain, (32 + (x >> 8) % 32) * LEAF << PAGE_SHIFT) >>
		    40 >= RACERS)
			r->wrong++;
		if (iommu_unmap(r->domain, iova, n * PAGE_SIZE) != n * PAGE_SIZE)
			r->wrong++;
		if (iommu_iova_to_phys(r->domain, iova))
			r->wrong++;
		/* and so says the hardware, which reads wherever it likes meanwhile */
		if (hw_read(r->g, iova >> PAGE_SHIFT) ||
		    hw_read(r->g, (iova >> PAGE_SHIFT) + n - 1))
			r->wrong++;
		cond_resched();
	}
	complete(&r->done);
	return 0;
}

/* Whose page an entry may lead to */
static unsigned int racer_of(unsigned long idx)
{
	return idx < 32 * LEAF ? idx % LEAF / 11 : (idx / LEAF - 32) / 8;
}

/* A device that reads all over: entries of the racer they belong to, or none. */
static int racing_device(void *data)
{
	struct racer *r = data;
	struct rnd_state state;
	unsigned long idx;
	u64 tce;

	prandom_seed_state(&state, RACERS);
	while (!kthread_should_stop()) {
		idx = prandom_u32_state(&state) % (64 * LEAF);
		tce = hw_read(r->g, idx);
		if (tce && ((tce & RW) != TCE_PCI_READ || tce >> 40 != racer_of(idx)))
			r->wrong++;
		cond_resched();
	}
	return 0;
}

static void race(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_group *g = f->group[0];
	struct model *m = model_make(test, g);
	struct racer *r = kunit_kcalloc(test, RACERS + 1, sizeof(*r), GFP_KERNEL);
	struct task_struct *task, *device;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, r);
	r[RACERS].g = g;
	device = kthread_run(racing_device, &r[RACERS], "domain-device");
	KUNIT_EXPECT_FALSE(test, IS_ERR(device));
	for (i = 0; i < RACERS; i++) {
		r[i].domain = m->domain;
		r[i].g = g;
		r[i].nr = i;
		init_completion(&r[i].done);
		task = kthread_run(racer, &r[i], "domain-racer/%u", i);
		if (IS_ERR(task)) {
			r[i].wrong++;
			complete(&r[i].done);
		}
	}
	for (i = 0; i < RACERS; i++) {
		wait_for_completion(&r[i].done);
		KUNIT_EXPECT_EQ(test, r[i].wrong, 0);
	}
	if (!IS_ERR(device))
		kthread_stop(device);
	KUNIT_EXPECT_EQ(test, r[RACERS].wrong, 0);
	model_check_all(test, m, g, 1);
	expect_counted(test, g->tg.tables[0]);
	model_free(test, m, g);
}

/* ---- owners ---- */

enum { PLATFORM, BLOCKED, FIRST, SECOND, OWNERS };

/* What the core's attaching does, see arch/powerpc/kernel/iommu.c. */
static int owner_set(struct fake_group *g, struct iommu_domain **domains, unsigned int to)
{
	int ret;

	if (to >= FIRST)
		return group_attach(&g->tg, domain_table(domains[to]), NULL);
	ret = spapr_tce_domain_leave(&g->tg);
	if (ret)
		return ret;
	if (to == PLATFORM)
		fake_release(&g->tg, NULL);
	else
		fake_take(&g->tg, NULL);
	return 0;
}

static unsigned int links_of(struct iommu_table *tbl)
{
	struct iommu_table_group_link *tgl;
	unsigned int n = 0;

	list_for_each_entry(tgl, &tbl->it_group_list, next)
		n++;
	return n;
}

/* Groups change hands at random; each device reaches what its owner allows, nothing else. */
static void owners(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommu_domain *domains[OWNERS] = {};
	struct iommu_table *tables[OWNERS] = {};
	unsigned int at[GROUPS] = {}, op, i, to, shown[OWNERS], windows;
	struct fake_group *g;

	for (i = FIRST; i < OWNERS; i++) {
		domains[i] = domain_make(f->group[0]);
		KUNIT_ASSERT_FALSE(test, IS_ERR(domains[i]));
		KUNIT_ASSERT_EQ(test, iommu_map(domains[i], 0, (u64)i << PAGE_SHIFT, PAGE_SIZE,
						IOMMU_READ, GFP_KERNEL), 0);
		/* its table is what a group shows */
		KUNIT_ASSERT_EQ(test, owner_set(f->group[0], domains, i), 0);
		tables[i] = f->group[0]->tg.tables[0];
		KUNIT_ASSERT_EQ(test, owner_set(f->group[0], domains, PLATFORM), 0);
	}

	for (op = 0; op < 2000; op++) {
		g = f->group[i = rnd(test, GROUPS)];
		to = rnd(test, OWNERS);
		KUNIT_EXPECT_EQ(test, owner_set(g, domains, to), 0);
		/* another device of the group: its DMA goes on */
		windows = g->windows;
		KUNIT_EXPECT_EQ(test, owner_set(g, domains, to), 0);
		KUNIT_EXPECT_EQ(test, g->windows, windows);
		at[i] = to;

		memset(shown, 0, sizeof(shown));
		for (i = 0; i < GROUPS; i++) {
			g = f->group[i];
			shown[at[i]]++;
			KUNIT_EXPECT_PTR_EQ(test, g->tg.tables[0],
					    at[i] == PLATFORM ? g->host : tables[at[i]]);
			KUNIT_EXPECT_EQ(test, g->taken, at[i] != PLATFORM);
			KUNIT_EXPECT_EQ(test, hw_read(g, 0), at[i] < FIRST ? 0 :
					((u64)at[i] << PAGE_SHIFT | TCE_PCI_READ));
		}
		for (i = FIRST; i < OWNERS; i++) {
			KUNIT_EXPECT_EQ(test, kref_read(&tables[i]->it_kref), 1 + shown[i]);
			KUNIT_EXPECT_EQ(test, links_of(tables[i]), shown[i]);
		}
		if (test->status == KUNIT_FAILURE)
			break;
	}

	/* an unmap reaches every group of the domain */
	for (i = 0; i < GROUPS; i++) {
		KUNIT_EXPECT_EQ(test, owner_set(f->group[i], domains, FIRST), 0);
		KUNIT_EXPECT_NE(test, hw_read(f->group[i], 0), 0);
	}
	KUNIT_EXPECT_EQ(test, iommu_unmap(domains[FIRST], 0, PAGE_SIZE), PAGE_SIZE);
	for (i = 0; i < GROUPS; i++) {
		KUNIT_EXPECT_EQ(test, hw_read(f->group[i], 0), 0);
		KUNIT_EXPECT_EQ(test, owner_set(f->group[i], domains, PLATFORM), 0);
	}
	for (i = FIRST; i < OWNERS; i++)
		iommu_domain_free(domains[i]);
}

/* Groups that another PHB's domain does not fit, and tables of others. */
static void owners_refused(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_group *g = f->group[0], *other = f->group[1];
	struct iommu_domain *domain = domain_make(g);
	struct iommu_table *users;

	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));

	other->tg.pgsizes = SZ_16M;
	KUNIT_EXPECT_EQ(test, group_attach(&other->tg, domain_table(domain), NULL), -EINVAL);
	other->tg.pgsizes = g->tg.pgsizes;
	other->tg.max_levels = LEVELS - 1;
	KUNIT_EXPECT_EQ(test, group_attach(&other->tg, domain_table(domain), NULL), -EINVAL);
	other->tg.max_levels = LEVELS;
	other->tg.tce32_start = SZ_64K;
	KUNIT_EXPECT_EQ(test, group_attach(&other->tg, domain_table(domain), NULL), -EINVAL);
	other->tg.tce32_start = 0;
	/* nothing has changed for the host */
	KUNIT_EXPECT_FALSE(test, other->taken);
	KUNIT_EXPECT_PTR_EQ(test, other->tg.tables[0], other->host);

	/* a container's table, which the core hands over by way of the blocked domain */
	users = fake_table(&fake_table_ops);
	KUNIT_ASSERT_NOT_NULL(test, users);
	users->it_mm = current->active_mm;
	other->tg.tables[0] = users;
	KUNIT_EXPECT_EQ(test, group_attach(&other->tg, domain_table(domain), NULL), -EBUSY);
	KUNIT_EXPECT_EQ(test, spapr_tce_domain_leave(&other->tg), 0);
	KUNIT_EXPECT_PTR_EQ(test, other->tg.tables[0], users);
	/* the firmware did not close the second window of a container that has gone */
	other->tg.tables[0] = NULL;
	other->tg.tables[1] = users;
	KUNIT_EXPECT_EQ(test, group_attach(&other->tg, domain_table(domain), NULL), -EBUSY);
	KUNIT_EXPECT_PTR_EQ(test, other->tg.tables[0], NULL);
	other->tg.tables[1] = NULL;
	users->it_mm = NULL;
	iommu_tce_table_put(users);
	other->tg.tables[0] = other->host;

	KUNIT_EXPECT_EQ(test, group_attach(&other->tg, domain_table(domain), NULL), 0);
	KUNIT_EXPECT_EQ(test, spapr_tce_domain_leave(&other->tg), 0);
	fake_release(&other->tg, NULL);
	iommu_domain_free(domain);
}

/* The firmware refuses a window, or to close one. */
static void owners_firmware(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_group *g = f->group[0];
	struct iommu_domain *a = domain_make(g), *b = domain_make(g);
	struct iommu_table *tbl;

	KUNIT_ASSERT_FALSE(test, IS_ERR(a));
	KUNIT_ASSERT_FALSE(test, IS_ERR(b));
	KUNIT_ASSERT_EQ(test, iommu_map(a, 0, PAGE_SIZE, PAGE_SIZE, IOMMU_READ, GFP_KERNEL), 0);

	/* no window: the host has all back */
	g->set_fails = -EIO;
	KUNIT_EXPECT_EQ(test, group_attach(&g->tg, domain_table(a), NULL), -EIO);
	KUNIT_EXPECT_PTR_EQ(test, g->tg.tables[0], g->host);
	KUNIT_EXPECT_FALSE(test, g->taken);
	/* or nobody */
	fake_take(&g->tg, NULL);
	KUNIT_EXPECT_EQ(test, group_attach(&g->tg, domain_table(a), NULL), -EIO);
	KUNIT_EXPECT_PTR_EQ(test, g->tg.tables[0], NULL);
	KUNIT_EXPECT_TRUE(test, g->taken);
	g->set_fails = 0;

	/* replacing fails: the devices go on in the old domain */
	KUNIT_EXPECT_EQ(test, group_attach(&g->tg, domain_table(a), NULL), 0);
	tbl = g->tg.tables[0];
	g->refuses = -EINVAL;
	g->accepts = tbl;
	KUNIT_EXPECT_EQ(test, group_attach(&g->tg, domain_table(b), NULL), -EINVAL);
	KUNIT_EXPECT_EQ(test, hw_read(g, 0), PAGE_SIZE | TCE_PCI_READ);
	KUNIT_EXPECT_PTR_EQ(test, g->tg.tables[0], tbl);
	KUNIT_EXPECT_EQ(test, kref_read(&tbl->it_kref), 2);
	g->refuses = 0;

	/* a window that stays is still invalidated, and outlives its domain */
	g->unset_fails = -EIO;
	KUNIT_EXPECT_EQ(test, group_attach(&g->tg, domain_table(b), NULL), -EIO);
	KUNIT_EXPECT_EQ(test, spapr_tce_domain_leave(&g->tg), -EIO);
	KUNIT_EXPECT_PTR_EQ(test, g->tg.tables[0], tbl);
	KUNIT_EXPECT_EQ(test, iommu_unmap(a, 0, PAGE_SIZE), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, hw_read(g, 0), 0);
	iommu_domain_free(a);
	KUNIT_EXPECT_EQ(test, hw_read(g, 0), 0);
	KUNIT_EXPECT_EQ(test, kref_read(&tbl->it_kref), 1);

	/* until the firmware thinks better of it */
	g->unset_fails = 0;
	KUNIT_EXPECT_EQ(test, group_attach(&g->tg, domain_table(b), NULL), 0);
	KUNIT_EXPECT_EQ(test, spapr_tce_domain_leave(&g->tg), 0);
	fake_release(&g->tg, NULL);
	iommu_domain_free(b);
}

/* ---- what it costs: under QEMU's -icount a nanosecond is an instruction ---- */

#define BENCH_PAGES	16384UL

static s64 ns_since(ktime_t from)
{
	return ktime_to_ns(ktime_sub(ktime_get(), from));
}

static void bench_row(struct kunit *test, const char *row, s64 ns)
{
	s64 hundredths = ns * 100 / BENCH_PAGES;

	kunit_info(test, "bench domain.%s %lld.%02lld\n", row, hundredths / 100,
		   hundredths % 100);
}

static int empty_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t pa,
		     size_t pgsize, size_t count, int prot, gfp_t gfp, size_t *mapped)
{
	return 0;
}

static size_t empty_unmap(struct iommu_domain *domain, unsigned long iova, size_t pgsize,
			  size_t count, struct iommu_iotlb_gather *gather)
{
	return 0;
}

static void empty_sync(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
}

/* What a call costs, as the core calls */
static const struct iommu_domain_ops empty_ops = {
	.map_pages = empty_map,
	.unmap_pages = empty_unmap,
	.iotlb_sync = empty_sync,
};

/* A call for each page, one invalidation for all: ns for mapping and for unmapping */
static void bench_single(struct kunit *test, struct iommu_domain *domain,
			 const struct iommu_domain_ops *ops, s64 *ns)
{
	struct iommu_iotlb_gather gather;
	size_t mapped = 0, unmapped = 0;
	unsigned long i;
	ktime_t from;

	OPTIMIZER_HIDE_VAR(ops);
	from = ktime_get();
	for (i = 1; i <= BENCH_PAGES; i++)
		ops->map_pages(domain, i << PAGE_SHIFT, 0, PAGE_SIZE, 1, IOMMU_WRITE,
			       GFP_KERNEL, &mapped);
	ns[0] = ns_since(from);
	iommu_iotlb_gather_init(&gather);
	from = ktime_get();
	for (i = 1; i <= BENCH_PAGES; i++)
		unmapped += ops->unmap_pages(domain, i << PAGE_SHIFT, PAGE_SIZE, 1, &gather);
	ops->iotlb_sync(domain, &gather);
	ns[1] = ns_since(from);
	KUNIT_EXPECT_EQ(test, mapped, unmapped);
	KUNIT_EXPECT_EQ(test, mapped, ops == &empty_ops ? 0 : BENCH_PAGES << PAGE_SHIFT);
}

/* Per page: one call for all that is contiguous, and a call for each page. */
static void perf(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct fake_group *g = f->group[0];
	struct model *m = model_make(test, g);
	const size_t size = BENCH_PAGES << PAGE_SHIFT;
	struct iommu_iotlb_gather gather;
	unsigned long i, sum = 0;
	s64 call[2], cost[2];
	ktime_t from;

	/* levels that stay: the range ends in the middle of leaves */
	KUNIT_ASSERT_EQ(test, map_ro(m, PAGE_SIZE, size), 0);
	for (i = 0; i < BENCH_PAGES; i++)
		iommu_unmap(m->domain, (1 + i) << PAGE_SHIFT, PAGE_SIZE);

	from = ktime_get();
	KUNIT_ASSERT_EQ(test, map_ro(m, PAGE_SIZE, size), 0);
	bench_row(test, "map", ns_since(from));
	from = ktime_get();
	for (i = 0; i < BENCH_PAGES; i++)
		sum += iommu_iova_to_phys(m->domain, (1 + i) << PAGE_SHIFT);
	bench_row(test, "iova_to_phys", ns_since(from));
	KUNIT_EXPECT_EQ(test, sum, BENCH_PAGES * (BENCH_PAGES - 1) / 2 << PAGE_SHIFT);
	iommu_iotlb_gather_init(&gather);
	from = ktime_get();
	KUNIT_ASSERT_EQ(test, iommu_unmap_fast(m->domain, PAGE_SIZE, size, &gather), size);
	iommu_iotlb_sync(m->domain, &gather);
	bench_row(test, "unmap", ns_since(from));

	/* with the levels made on the way, and freed */
	from = ktime_get();
	KUNIT_ASSERT_EQ(test, map_ro(m, PAGE_SIZE, size), 0);
	bench_row(test, "grow_and_map", ns_since(from));
	KUNIT_ASSERT_EQ(test, iommu_unmap(m->domain, PAGE_SIZE, size), size);

	bench_single(test, m->domain, &empty_ops, call);
	/* the first time makes the levels, which stay */
	bench_single(test, m->domain, m->domain->ops, cost);
	bench_single(test, m->domain, m->domain->ops, cost);
	bench_row(test, "map.single", cost[0] - call[0]);
	bench_row(test, "unmap.single", cost[1] - call[1]);
	bench_row(test, "call", call[0]);
	model_free(test, m, g);
}

static struct kunit_case domain_cases[] = {
	KUNIT_CASE(properties),
	KUNIT_CASE(random_ops),
	KUNIT_CASE(levels_go),
	KUNIT_CASE(failing_allocations),
	KUNIT_CASE(race),
	KUNIT_CASE(owners),
	KUNIT_CASE(owners_refused),
	KUNIT_CASE(owners_firmware),
	KUNIT_CASE(perf),
	{}
};

static struct kunit_suite domain_suite = {
	.name = "iommu_domain",
	.init = domain_test_init,
	.exit = domain_test_exit,
	.test_cases = domain_cases,
};

kunit_test_suite(domain_suite);

MODULE_DESCRIPTION("KUnit tests of paging domains on TCE tables");
MODULE_LICENSE("GPL");
