// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tests of the TCE hypercalls: what each answers, and in which order it works.
 *
 * The VM is made by hand: one memory slot over a real mm (kunit_vm_mmap()), part of which
 * is registered, one vCPU that never runs. Hardware tables are real tables with fake
 * operations: the invalidation looks at what must be true at just that moment. A second
 * shape has its entries at a "hypervisor", so that setting one can be seen as well.
 * Cases that end in _rm call the real mode handlers with the MMU off, those that end in
 * _p9 do as the guest's exit on POWER9: at once if that is possible. Others are done in
 * each of these modes (see struct mode).
 *
 * Whatever a case does, at its end each region's count is 1, nothing is charged.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/kvm_host.h>
#include <linux/sched/signal.h>
#include <linux/srcu.h>
#include <linux/uaccess.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/kvm_book3s.h>
#include <asm/kvm_ppc.h>
#include <asm/mm_iommu.h>
#include "../../mm/book3s64/mm_iommu_core.h"
#include "../../mm/book3s64/tests/iommu_kunit.h"
#include "../book3s_64_vio.h"
#include "book3s_64_vio_hv_kunit.h"

#define P		PAGE_SIZE
#define RAM_PAGES	48UL
#define RAM		(RAM_PAGES * P)
/* RAM: region A, region B, memory that nobody has registered */
#define A		0UL
#define B		(16 * P)
#define UNREG		(32 * P)
#define RAM_LOCKED	(UNREG / P)		/* pages that A and B charge */
#define LIST_GPA	(8 * P + SZ_4K)		/* in A, where a list is put */
#define ROM		SZ_256M			/* the same memory, read-only */
#define BEYOND		(ROM + SZ_256M)		/* no memory there */

#define LIOBN		0x80000001UL
#define SHIFT		12
#define PG		BIT(SHIFT)
#define OFFSET		0x100UL			/* of the window, in TCEs */
#define SIZE		0x10005UL
#define IOBA(i)		((OFFSET + (i)) << SHIFT)

#define R		TCE_PCI_READ
#define W		TCE_PCI_WRITE
#define RW		(R | W)

struct vio;

/* What the fake hardware has seen */
struct fake {
	struct iommu_table tbl;
	struct vio *v;
	unsigned int kills;
	unsigned long first, end;
	/* counts of A and B at the last invalidation and the last set */
	long kill_a, kill_b, set_a, set_b;
	long most_a;		/* and the highest of A at any invalidation */
	int fail;		/* sets that still succeed; -1: all do */
	u64 tce[64];		/* the hypervisor's entries */
};

struct vio {
	struct mm_struct *mm;
	unsigned long ua;
	struct mm_iommu_region *a, *b;
	struct kvm *kvm;
	struct kvm_vcpu *vcpu;
	struct kvm_memory_slot slot[2];
	struct kvmppc_spapr_tce_table *stt;
	struct iommu_group *grp[2];
	struct fake *hw[2];
	unsigned int at_once;	/* calls of p9() that were served at once */
};

static long mapped(struct mm_iommu_region *mem)
{
	return atomic64_read(&mem->mapped);
}

static void look(struct fake *f, unsigned long first, unsigned long n)
{
	f->kills++;
	f->first = first;
	f->end = first + n;
	f->kill_a = mapped(f->v->a);
	f->kill_b = mapped(f->v->b);
	f->most_a = max(f->most_a, f->kill_a);
}

static void fake_kill(struct iommu_table *tbl, unsigned long index, unsigned long pages)
{
	look(container_of(tbl, struct fake, tbl), index, pages);
}

static void fake_kill_rm(struct iommu_table *tbl, unsigned long index, unsigned long pages)
{
	look(container_of(tbl, struct fake, tbl), index, pages);
}

/* The hypervisor: one entry a call */
static int fake_set_user(struct iommu_table *tbl, unsigned long index, unsigned long n,
			 void (*fill)(void *arg, __be64 *list, unsigned long n), void *arg)
{
	struct fake *f = container_of(tbl, struct fake, tbl);
	__be64 tce = 0;

	if (fill) {
		if (!f->fail)
			return -ENOMEM;
		if (f->fail > 0)
			f->fail--;
		fill(arg, &tce, 1);
	}
	f->tce[(index - tbl->it_offset) % ARRAY_SIZE(f->tce)] = be64_to_cpu(tce);
	f->set_a = mapped(f->v->a);
	f->set_b = mapped(f->v->b);
	return 0;
}

static struct iommu_table_ops fake_ops = {
	.tce_kill = fake_kill,
	.tce_kill_rm = fake_kill_rm,
	.free = iommu_levels_destroy,
};

static struct iommu_table_ops fake_hypervisor_ops = {
	.tce_kill = fake_kill,
	.set_user = fake_set_user,
	.set_user_max = 1,
	.free = iommu_levels_destroy,
};

/* The table's last reference is the test's, and frees it. */
static struct fake *fake_table(struct kunit *test, unsigned int shift, bool hypervisor)
{
	struct vio *v = test->priv;
	struct fake *f = kzalloc_obj(*f);

	BUILD_BUG_ON(offsetof(struct fake, tbl));
	KUNIT_ASSERT_NOT_NULL(test, f);
	f->v = v;
	f->fail = -1;
	f->tbl.it_page_shift = shift;
	f->tbl.it_offset = OFFSET << (SHIFT - shift);
	f->tbl.it_size = 0x10008;
	f->tbl.it_ops = hypervisor ? &fake_hypervisor_ops : &fake_ops;
	kref_init(&f->tbl.it_kref);
	INIT_LIST_HEAD_RCU(&f->tbl.it_group_list);
	KUNIT_ASSERT_EQ(test, iommu_levels_init(&f->tbl, NUMA_NO_NODE, 2, 9, !hypervisor,
						v->mm), 0);
	return f;
}

static void fake_table_end(struct kunit *test, struct fake *f)
{
	struct iommu_user_gather g;

	if (!f)
		return;
	iommu_user_begin(&g, &f->tbl, false);
	iommu_user_unmap(&g, f->tbl.it_offset, f->tbl.it_size);
	iommu_user_finish(&g);
	/* Nobody but the test holds it. */
	KUNIT_EXPECT_EQ(test, kref_read(&f->tbl.it_kref), 1U);
	iommu_tce_table_put(&f->tbl);
}

static void slot_add(struct vio *v, unsigned int i, unsigned long gpa, u32 flags)
{
	struct kvm_memslots *slots = &v->kvm->__memslots[0][0];
	struct kvm_memory_slot *s = &v->slot[i];
	struct rb_node **link = &slots->gfn_tree.rb_node, *parent = NULL;

	s->base_gfn = gpa >> PAGE_SHIFT;
	s->npages = RAM_PAGES;
	s->userspace_addr = v->ua;
	s->flags = flags;
	while (*link) {
		parent = *link;
		link = &parent->rb_right;	/* added in order */
	}
	rb_link_node(&s->gfn_node[0], parent, link);
	rb_insert_color(&s->gfn_node[0], &slots->gfn_tree);
}

static struct kvmppc_spapr_tce_table *liobn(struct kunit *test, u32 shift, u64 offset,
					    u64 size)
{
	struct vio *v = test->priv;
	struct kvm_create_spapr_tce_64 args = {
		.liobn = LIOBN, .page_shift = shift, .offset = offset, .size = size,
	};
	struct kvmppc_spapr_tce_table *stt = kvmppc_tce_table_create(v->kvm, &args);

	KUNIT_ASSERT_FALSE(test, IS_ERR(stt));
	return stt;
}

static int vio_init(struct kunit *test)
{
	struct vio *v = kunit_kzalloc(test, sizeof(*v), GFP_KERNEL);
	unsigned long ua;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, v);
	test->priv = v;
	v->mm = own_mm(test);
	ua = kunit_vm_mmap(test, NULL, 0, RAM, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)ua));
	v->ua = ua;
	KUNIT_ASSERT_EQ(test, mm_iommu_register(v->mm, ua + A, B - A, &v->a), 0);
	KUNIT_ASSERT_EQ(test, mm_iommu_register(v->mm, ua + B, UNREG - B, &v->b), 0);

	v->kvm = kunit_kzalloc(test, sizeof(*v->kvm), GFP_KERNEL);
	v->vcpu = kunit_kzalloc(test, sizeof(*v->vcpu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, v->kvm);
	KUNIT_ASSERT_NOT_NULL(test, v->vcpu);
	v->kvm->mm = v->mm;
	v->vcpu->kvm = v->kvm;
	KUNIT_ASSERT_EQ(test, init_srcu_struct(&v->kvm->srcu), 0);
	set_bit(H_GET_TCE / 4, v->kvm->arch.enabled_hcalls);
	set_bit(H_PUT_TCE / 4, v->kvm->arch.enabled_hcalls);
	set_bit(H_STUFF_TCE / 4, v->kvm->arch.enabled_hcalls);
	INIT_LIST_HEAD_RCU(&v->kvm->arch.spapr_tce_tables);
	kvmppc_tce_vm_init(v->kvm);
	rcu_assign_pointer(v->kvm->memslots[0], &v->kvm->__memslots[0][0]);
	slot_add(v, 0, 0, 0);
	slot_add(v, 1, ROM, KVM_MEM_READONLY);

	for (i = 0; i < 2; i++) {
		v->grp[i] = iommu_group_alloc();
		KUNIT_ASSERT_FALSE(test, IS_ERR(v->grp[i]));
	}
	v->stt = liobn(test, SHIFT, OFFSET, SIZE);
	return 0;
}

static void vio_exit(struct kunit *test)
{
	struct vio *v = test->priv;
	int i;

	if (!v || !v->stt)
		return;
	kvmppc_tce_table_free(v->stt);
	KUNIT_EXPECT_TRUE(test, list_empty(&v->kvm->arch.spapr_tce_tables));
	kvmppc_tce_vm_free(v->kvm);
	for (i = 0; i < 2; i++) {
		fake_table_end(test, v->hw[i]);
		iommu_group_put(v->grp[i]);
	}
	kvmppc_tce_vcpu_free(v->vcpu);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(v->mm, v->a), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(v->mm, v->b), 0);
	KUNIT_EXPECT_EQ(test, mm_iommu_drain(v->mm), 0);
	KUNIT_EXPECT_EQ(test, v->mm->locked_vm, 0UL);
	cleanup_srcu_struct(&v->kvm->srcu);
	mmdrop(v->mm);
}

static void attach(struct kunit *test, unsigned int i, unsigned int shift, bool hypervisor)
{
	struct vio *v = test->priv;

	v->hw[i] = fake_table(test, shift, hypervisor);
	KUNIT_ASSERT_EQ(test, kvmppc_tce_attach(v->stt, &v->hw[i]->tbl, v->grp[i]), 0);
}

/* ---- calling ---- */

enum hcall { GET, PUT, INDIRECT, STUFF };

static long real(struct vio *v, enum hcall h, unsigned long liobn, unsigned long ioba,
		 unsigned long arg, unsigned long n)
{
	static void * const fn[] = {
		[GET] = kvmppc_rm_h_get_tce, [PUT] = kvmppc_rm_h_put_tce,
		[INDIRECT] = kvmppc_rm_h_put_tce_indirect, [STUFF] = kvmppc_rm_h_stuff_tce,
	};

	return call_real(fn[h], (unsigned long)v->vcpu, liobn, ioba, arg, n, 0);
}

/* The same code instrumented, with the MMU on. */
static long instrumented(struct vio *v, enum hcall h, unsigned long liobn,
			 unsigned long ioba, unsigned long arg, unsigned long n)
{
	static void * const fn[] = {
		[GET] = kunit_rm_h_get_tce, [PUT] = kunit_rm_h_put_tce,
		[INDIRECT] = kunit_rm_h_put_tce_indirect, [STUFF] = kunit_rm_h_stuff_tce,
	};
	int srcu = srcu_read_lock(&v->kvm->srcu);
	long ret;

	ret = call_virt(fn[h], (unsigned long)v->vcpu, liobn, ioba, arg, n, 0);
	srcu_read_unlock(&v->kvm->srcu, srcu);
	return ret;
}

static long virt(struct vio *v, enum hcall h, unsigned long liobn, unsigned long ioba,
		 unsigned long arg, unsigned long n)
{
	switch (h) {
	case GET:
		return kvmppc_h_get_tce(v->vcpu, liobn, ioba);
	case PUT:
		return kvmppc_h_put_tce(v->vcpu, liobn, ioba, arg);
	case INDIRECT:
		return kvmppc_h_put_tce_indirect(v->vcpu, liobn, ioba, arg, n);
	case STUFF:
		return kvmppc_h_stuff_tce(v->vcpu, liobn, ioba, arg, n);
	}
	return H_FUNCTION;
}

static long p9(struct vio *v, enum hcall h, unsigned long liobn, unsigned long ioba,
	       unsigned long arg, unsigned long n)
{
	static const unsigned long nr[] = {
		[GET] = H_GET_TCE, [PUT] = H_PUT_TCE, [STUFF] = H_STUFF_TCE,
	};
	const unsigned long gpr[] = { nr[h == INDIRECT ? 0 : h], liobn, ioba, arg, n };
	unsigned long flags;
	bool done;
	int i, srcu;

	if (h == INDIRECT)
		return virt(v, h, liobn, ioba, arg, n);
	for (i = 0; i < ARRAY_SIZE(gpr); i++)
		kvmppc_set_gpr(v->vcpu, 3 + i, gpr[i]);
	srcu = srcu_read_lock(&v->kvm->srcu);
	local_irq_save(flags);
	done = kvmppc_tce_hcall_at_once(v->vcpu, gpr[0]);
	local_irq_restore(flags);
	srcu_read_unlock(&v->kvm->srcu, srcu);
	v->at_once += done;
	return done ? (long)kvmppc_get_gpr(v->vcpu, 3) : virt(v, h, liobn, ioba, arg, n);
}

typedef long (*hcall_t)(struct vio *v, enum hcall h, unsigned long liobn, unsigned long ioba,
		       unsigned long arg, unsigned long n);

static bool by_real(hcall_t call)
{
	return call == real || call == instrumented;
}

static u64 get_by(struct vio *v, hcall_t call, unsigned long i)
{
	long ret = call(v, GET, LIOBN, IOBA(i), 0, 0);

	return ret == H_SUCCESS ? kvmppc_get_gpr(v->vcpu, 4) : ~0UL;
}

static u64 get(struct vio *v, unsigned long i)
{
	return get_by(v, virt, i);
}

/* The user address behind entry @i of a hardware table (v1: where it leads), ~0 if clear */
static unsigned long hw_ua(struct fake *f, unsigned long i)
{
	struct iommu_span span;
	u64 word = 0;

	rcu_read_lock();
	iommu_levels_walk(&f->tbl, i, &span);
	if (span.view)
		word = READ_ONCE(*span.view);
	rcu_read_unlock();
	return word ? word & IOMMU_VIEW_UA : ~0UL;
}

static void put_list(struct kunit *test, const u64 *tce, unsigned int n)
{
	struct vio *v = test->priv;
	__be64 *list = (__be64 *)kunit_kcalloc(test, n, sizeof(*list), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, list);
	for (i = 0; i < n; i++)
		list[i] = cpu_to_be64(tce[i]);
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)(v->ua + LIST_GPA), list,
					   n * sizeof(*list)), 0UL);
}

/* ---- answers ---- */

static const struct answer {
	enum hcall h;
	unsigned long liobn, ioba, arg, n;
	long want, want_rm;
	const char *what;
} answers[] = {
	{ GET, LIOBN + 1, IOBA(0), 0, 0, H_TOO_HARD, H_TOO_HARD, "unknown LIOBN" },
	{ GET, LIOBN, IOBA(0), 0, 0, H_SUCCESS, H_SUCCESS, "first" },
	{ GET, LIOBN, IOBA(SIZE - 1), 0, 0, H_SUCCESS, H_SUCCESS, "last" },
	{ GET, LIOBN, IOBA(0) - PG, 0, 0, H_PARAMETER, H_PARAMETER, "before the first" },
	{ GET, LIOBN, IOBA(SIZE), 0, 0, H_PARAMETER, H_PARAMETER, "after the last" },
	{ GET, LIOBN, IOBA(0) + 1, 0, 0, H_PARAMETER, H_PARAMETER, "not aligned" },
	{ GET, LIOBN, ~0UL << SHIFT, 0, 0, H_PARAMETER, H_PARAMETER, "last of all" },

	{ PUT, LIOBN + 1, IOBA(0), A | RW, 0, H_TOO_HARD, H_TOO_HARD, "unknown LIOBN" },
	{ PUT, LIOBN, IOBA(0), A | RW, 0, H_SUCCESS, H_SUCCESS, "RW" },
	{ PUT, LIOBN, IOBA(0), B | R, 0, H_SUCCESS, H_SUCCESS, "R over RW" },
	{ PUT, LIOBN, IOBA(0), B | W, 0, H_SUCCESS, H_SUCCESS, "W over R" },
	{ PUT, LIOBN, IOBA(0), 0, 0, H_SUCCESS, H_SUCCESS, "clear" },
	{ PUT, LIOBN, IOBA(0), 0xdeadbeef0ff0, 0, H_SUCCESS, H_SUCCESS, "poison" },
	{ PUT, LIOBN, IOBA(0), A | 0x800 | RW, 0, H_PARAMETER, H_PARAMETER, "page not aligned" },
	{ PUT, LIOBN, IOBA(0), A | 4 | R, 0, H_PARAMETER, H_PARAMETER, "reserved bit" },
	{ PUT, LIOBN, IOBA(0), RAM | RW, 0, H_TOO_HARD, H_TOO_HARD, "after the end of RAM" },
	{ PUT, LIOBN, IOBA(0), BEYOND | RW, 0, H_TOO_HARD, H_TOO_HARD, "no memory" },
	{ PUT, LIOBN, IOBA(0), (~0UL << SHIFT) | RW, 0, H_TOO_HARD, H_TOO_HARD, "end of all" },
	{ PUT, LIOBN, IOBA(0), ROM | W, 0, H_TOO_HARD, H_TOO_HARD, "ROM, to write" },
	{ PUT, LIOBN, IOBA(0), ROM | R, 0, H_SUCCESS, H_SUCCESS, "ROM, to read" },
	{ PUT, LIOBN, IOBA(0), UNREG | RW, 0, H_TOO_HARD, H_TOO_HARD, "not registered" },
	{ PUT, LIOBN, IOBA(SIZE), A | RW, 0, H_PARAMETER, H_PARAMETER, "after the last" },
	{ PUT, LIOBN, IOBA(1) + 8, A | RW, 0, H_PARAMETER, H_PARAMETER, "ioba not aligned" },
	{ PUT, LIOBN, IOBA(SIZE - 1), A | RW, 0, H_SUCCESS, H_TOO_HARD, "last; no level, no page" },
	{ PUT, LIOBN, IOBA(SIZE - 1), 0, 0, H_SUCCESS, H_SUCCESS, "last, clear" },

	{ INDIRECT, LIOBN + 1, IOBA(0), LIST_GPA, 1, H_TOO_HARD, H_TOO_HARD, "unknown LIOBN" },
	{ INDIRECT, LIOBN, IOBA(0), LIST_GPA, 0, H_SUCCESS, H_SUCCESS, "none" },
	{ INDIRECT, LIOBN, IOBA(0), LIST_GPA, 1, H_SUCCESS, H_SUCCESS, "one" },
	{ INDIRECT, LIOBN, IOBA(0), LIST_GPA, 512, H_SUCCESS, H_SUCCESS, "512" },
	{ INDIRECT, LIOBN, IOBA(0), LIST_GPA, 513, H_PARAMETER, H_PARAMETER, "513" },
	{ INDIRECT, LIOBN, IOBA(0), LIST_GPA, ~0UL, H_PARAMETER, H_PARAMETER, "2^64 - 1" },
	{ INDIRECT, LIOBN, IOBA(SIZE - 1), LIST_GPA, 2, H_PARAMETER, H_PARAMETER, "over the end" },
	{ INDIRECT, LIOBN, IOBA(SIZE), LIST_GPA, 0, H_SUCCESS, H_SUCCESS, "none, at the end" },
	{ INDIRECT, LIOBN, IOBA(0), LIST_GPA + 8, 1, H_PARAMETER, H_PARAMETER, "list not aligned" },
	{ INDIRECT, LIOBN, IOBA(0), RAM - SZ_4K, 512, H_SUCCESS, H_TOO_HARD, "list ends RAM" },
	{ INDIRECT, LIOBN, IOBA(0), RAM, 1, H_PARAMETER, H_TOO_HARD, "list after RAM" },
	{ INDIRECT, LIOBN, IOBA(0), ~0UL << 12, 1, H_PARAMETER, H_TOO_HARD, "list ends all" },

	{ STUFF, LIOBN + 1, IOBA(0), 0, 1, H_TOO_HARD, H_TOO_HARD, "unknown LIOBN" },
	{ STUFF, LIOBN, IOBA(0), 0, 0, H_SUCCESS, H_SUCCESS, "none" },
	{ STUFF, LIOBN, IOBA(0), 0, 512, H_SUCCESS, H_SUCCESS, "512" },
	{ STUFF, LIOBN, IOBA(0), 0, 513, H_SUCCESS, H_TOO_HARD, "513" },
	{ STUFF, LIOBN, IOBA(0), 0, SIZE, H_SUCCESS, H_TOO_HARD, "all" },
	{ STUFF, LIOBN, IOBA(0), 0x1230, 512, H_SUCCESS, H_SUCCESS, "poison" },
	{ STUFF, LIOBN, IOBA(0), A | R, 1, H_PARAMETER, H_PARAMETER, "R" },
	{ STUFF, LIOBN, IOBA(0), A | W, 1, H_PARAMETER, H_PARAMETER, "W" },
	{ STUFF, LIOBN, IOBA(0), 0, SIZE + 1, H_PARAMETER, H_PARAMETER, "one too many" },
	{ STUFF, LIOBN, IOBA(1), 0, ~0UL, H_PARAMETER, H_PARAMETER, "2^64 - 1" },
	{ STUFF, LIOBN, IOBA(0) + 1, 0, 1, H_PARAMETER, H_PARAMETER, "not aligned" },
};

static void all_answers(struct kunit *test, hcall_t call, bool has_hw)
{
	struct vio *v = test->priv;
	bool rm = by_real(call);
	const struct answer *a;
	long ret, want;
	u64 before;

	for (a = answers; a < answers + ARRAY_SIZE(answers); a++) {
		before = get(v, 0);
		want = rm ? a->want_rm : a->want;
		/* Without hardware nothing needs to be registered. */
		if (!has_hw && a->h == PUT && a->arg == (UNREG | RW))
			want = H_SUCCESS;
		if (!has_hw && rm && a->h == INDIRECT && a->arg == RAM - SZ_4K)
			want = H_TOO_HARD;
		ret = call(v, a->h, a->liobn, a->ioba, a->arg, a->n);
		KUNIT_EXPECT_EQ_MSG(test, ret, want, "call %d: %s", a->h, a->what);
		if (ret != H_SUCCESS)
			KUNIT_EXPECT_EQ_MSG(test, get(v, 0), before, "call %d: %s", a->h,
					    a->what);
		/* An empty list, which the next ones are to find there */
		if (a->h == STUFF)
			continue;
		if (a->h != INDIRECT || ret == H_SUCCESS)
			KUNIT_EXPECT_EQ(test, clear_user((void __user *)(v->ua + LIST_GPA),
							 SZ_4K), 0UL);
	}
}

static void answers_none(struct kunit *test)
{
	all_answers(test, virt, false);
}

static void answers_one(struct kunit *test)
{
	attach(test, 0, SHIFT, false);
	all_answers(test, virt, true);
}

static void answers_two(struct kunit *test)
{
	attach(test, 0, SHIFT, false);
	attach(test, 1, SHIFT, true);
	all_answers(test, virt, true);
}

/* Levels, the view's page and the list's copy are virtual mode's to make. */
static void warm_up(struct kunit *test)
{
	struct vio *v = test->priv;

	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), A | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(511), A | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, virt(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 512), H_SUCCESS);
}

struct mode {
	const char *name;
	hcall_t call;
};

static const struct mode modes[] = {
	{ "virtual mode", virt },
	{ "at once", p9 },
	{ "real mode", real },
	{ "real mode, instrumented", instrumented },
};

KUNIT_ARRAY_PARAM_DESC(mode, modes, name);

/* The parameter's mode. All that virtual mode would make is there: see warm_up(). */
static hcall_t mode_call(struct kunit *test)
{
	const struct mode *m = test->param_value;

	if (by_real(m->call))
		need_real_mode(test);
	warm_up(test);
	return m->call;
}

static void answers_none_rm(struct kunit *test)
{
	need_real_mode(test);
	warm_up(test);
	all_answers(test, real, false);
}

static void answers_one_rm(struct kunit *test)
{
	need_real_mode(test);
	attach(test, 0, SHIFT, false);
	warm_up(test);
	all_answers(test, real, true);
}

static void answers_none_p9(struct kunit *test)
{
	all_answers(test, p9, false);
}

static void answers_one_p9(struct kunit *test)
{
	attach(test, 0, SHIFT, false);
	all_answers(test, p9, true);
}

static void answers_two_p9(struct kunit *test)
{
	attach(test, 0, SHIFT, false);
	attach(test, 1, SHIFT, true);
	all_answers(test, p9, true);
}

/* A table without real mode invalidation behind the LIOBN: everything goes up. */
static void not_ready_rm(struct kunit *test)
{
	struct vio *v = test->priv;

	need_real_mode(test);
	attach(test, 0, SHIFT, true);
	warm_up(test);
	KUNIT_EXPECT_EQ(test, real(v, PUT, LIOBN, IOBA(0), A | RW, 0), H_TOO_HARD);
	KUNIT_EXPECT_EQ(test, real(v, STUFF, LIOBN, IOBA(0), 0, 1), H_TOO_HARD);
	KUNIT_EXPECT_EQ(test, v->vcpu->arch.tce_rm_lack, KVM_TCE_LACK_SLEEP);
	KUNIT_EXPECT_EQ(test, v->vcpu->stat.tce_put_rm, 0ULL);
}

/* ---- order ---- */

static void order(struct kunit *test, hcall_t call)
{
	struct vio *v = test->priv;
	struct fake *f;
	u64 *list;
	int i;

	list = kunit_kcalloc(test, 512, sizeof(*list), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, list);
	attach(test, 0, SHIFT, false);
	f = v->hw[0];
	warm_up(test);

	f->kills = 0;
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(7), A | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, f->kills, 1U);
	KUNIT_EXPECT_EQ(test, f->kill_a, 2L);

	/* Replace: at the invalidation both references are held. */
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(7), (B + PG) | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, f->kills, 2U);
	KUNIT_EXPECT_EQ(test, f->first, OFFSET + 7);
	KUNIT_EXPECT_EQ(test, f->end, OFFSET + 8);
	KUNIT_EXPECT_EQ(test, f->kill_a, 2L);
	KUNIT_EXPECT_EQ(test, f->kill_b, 2L);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 2L);
	KUNIT_EXPECT_EQ(test, hw_ua(f, 7), v->ua + B + PG);

	/* Clear: the reference outlives the invalidation. */
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(7), 0, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, f->kills, 3U);
	KUNIT_EXPECT_EQ(test, f->kill_b, 2L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);
	KUNIT_EXPECT_EQ(test, hw_ua(f, 7), ~0UL);

	/* 512 at once: one invalidation. */
	for (i = 0; i < 512; i++)
		list[i] = (A + (i % 16) * PG) | RW;
	put_list(test, list, 512);
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 512), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, f->kills, 4U);
	KUNIT_EXPECT_EQ(test, f->first, OFFSET);
	KUNIT_EXPECT_EQ(test, f->end, OFFSET + 512);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 513L);
	for (i = 0; i < 512; i++) {
		KUNIT_EXPECT_EQ(test, hw_ua(f, i), v->ua + A + (i % 16) * PG);
		KUNIT_EXPECT_EQ(test, get_by(v, call, i), list[i]);
	}

	/* And to clear them: at the invalidation all of them are held. */
	f->most_a = 0;
	KUNIT_EXPECT_EQ(test, call(v, STUFF, LIOBN, IOBA(0), 0x550, 512), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, f->kills, 5U);
	KUNIT_EXPECT_EQ(test, f->most_a, 513L);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	for (i = 0; i < 512; i++) {
		KUNIT_EXPECT_EQ(test, hw_ua(f, i), ~0UL);
		KUNIT_EXPECT_EQ(test, get_by(v, call, i), 0x550ULL);
	}
}

static void order_virt(struct kunit *test)
{
	order(test, virt);
}

static void order_p9(struct kunit *test)
{
	struct vio *v = test->priv;

	order(test, p9);
	KUNIT_EXPECT_EQ(test, v->at_once, 4U + 2 * 512);
}

static void order_rm(struct kunit *test)
{
	struct vio *v = test->priv;

	need_real_mode(test);
	order(test, real);
	KUNIT_EXPECT_EQ(test, v->vcpu->stat.tce_put_rm, 3ULL);
	KUNIT_EXPECT_EQ(test, v->vcpu->stat.tce_indirect_rm, 1ULL);
	KUNIT_EXPECT_EQ(test, v->vcpu->stat.tce_stuff_rm, 1ULL);
}

/* What @i of the fake hardware's entries really is, ~0 without a leaf */
static unsigned long hw_tce(struct fake *f, unsigned long i)
{
	struct iommu_span span;
	unsigned long tce = ~0UL;

	rcu_read_lock();
	iommu_levels_walk(&f->tbl, i, &span);
	if (span.tce)
		tce = iommu_tce_load(span.tce);
	rcu_read_unlock();
	return tce;
}

/* How many of 512 entries are not just what @list says? */
static unsigned int list_wrong(struct vio *v, struct fake *f, const u64 *list)
{
	unsigned long hpa, ua;
	unsigned int i, bad = 0;

	for (i = 0; i < 512; i++) {
		ua = v->ua + (list[i] & ~RW);
		rcu_read_lock();
		if (mm_iommu_translate(v->mm, ua, &hpa) < (long)PG)
			bad++;
		rcu_read_unlock();
		bad += hw_ua(f, i) != ua || get(v, i) != list[i];
		bad += !f->tbl.it_ops->set_user &&
		       hw_tce(f, i) != (hpa | (list[i] & W ? RW : R));
	}
	return bad;
}

static void expect_one_kill(struct kunit *test, long a, long b, const char *what)
{
	struct vio *v = test->priv;
	struct fake *f;
	int i;

	/* The one attached last comes first. */
	for (i = 1; i >= 0; i--) {
		f = v->hw[i];
		KUNIT_EXPECT_EQ_MSG(test, f->kills, 1U, "%s, table %d", what, i);
		KUNIT_EXPECT_EQ_MSG(test, f->first, OFFSET, "%s, table %d", what, i);
		KUNIT_EXPECT_EQ_MSG(test, f->end, OFFSET + 512, "%s, table %d", what, i);
		f->kills = 0;
	}
	/* What is held at the second table's: by both, of which the first is done */
	KUNIT_EXPECT_EQ_MSG(test, f->kill_a, a, "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, f->kill_b, b, "%s", what);
}

/*
 * Lists of which no page follows the one before, over two tables: one invalidation for
 * each table and call, at which both what was and what is to be are held.
 */
static void scattered(struct kunit *test, hcall_t call, bool hypervisor)
{
	const unsigned int pages = (B - A) / PG;
	struct vio *v = test->priv;
	u64 *list;
	int i;

	list = kunit_kcalloc(test, 512, sizeof(*list), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, list);
	attach(test, 0, SHIFT, false);
	attach(test, 1, SHIFT, hypervisor);
	warm_up(test);
	v->hw[0]->kills = 0;
	v->hw[1]->kills = 0;

	for (i = 0; i < 512; i++)
		list[i] = (A + i * 37 % pages * PG) | RW;
	put_list(test, list, 512);
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 512), H_SUCCESS);
	expect_one_kill(test, 1 + 512 + 512, 1, "map");
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L + 2 * 512);
	KUNIT_EXPECT_EQ(test, list_wrong(v, v->hw[0], list), 0U);
	KUNIT_EXPECT_EQ(test, list_wrong(v, v->hw[1], list), 0U);

	/* Both regions by turns, over that */
	for (i = 0; i < 512; i++)
		list[i] = ((i & 1 ? A : B) + i * 13 % pages * PG) | (i % 3 ? R : W);
	put_list(test, list, 512);
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 512), H_SUCCESS);
	expect_one_kill(test, 1 + 256 + 512 + 256, 1 + 256 + 256, "replace");
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L + 512);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L + 512);
	KUNIT_EXPECT_EQ(test, list_wrong(v, v->hw[0], list), 0U);
	KUNIT_EXPECT_EQ(test, list_wrong(v, v->hw[1], list), 0U);

	/* And one region over both */
	for (i = 0; i < 512; i++)
		list[i] = (B + (511 - i) % pages * PG) | RW;
	put_list(test, list, 512);
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 512), H_SUCCESS);
	expect_one_kill(test, 1 + 256, 1 + 512 + 256 + 512, "replace again");
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L + 2 * 512);
	KUNIT_EXPECT_EQ(test, list_wrong(v, v->hw[0], list), 0U);
	KUNIT_EXPECT_EQ(test, list_wrong(v, v->hw[1], list), 0U);

	KUNIT_EXPECT_EQ(test, call(v, STUFF, LIOBN, IOBA(0), 0, 512), H_SUCCESS);
	expect_one_kill(test, 1, 1 + 512, "clear");
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);

	/* Each entry cleared where each was of another region than the one before */
	for (i = 0; i < 512; i++)
		list[i] = ((i & 1 ? A : B) + i * 5 % pages * PG) | RW;
	put_list(test, list, 512);
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 512), H_SUCCESS);
	expect_one_kill(test, 1 + 512, 1 + 512, "map again");
	KUNIT_EXPECT_EQ(test, call(v, STUFF, LIOBN, IOBA(0), 0, 512), H_SUCCESS);
	expect_one_kill(test, 1 + 256, 1 + 256, "clear again");
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);
	for (i = 0; i < 512; i++)
		KUNIT_EXPECT_EQ(test, hw_ua(v->hw[i & 1], i), ~0UL);
}

static void scattered_virt(struct kunit *test)
{
	scattered(test, virt, false);
}

static void scattered_hypervisor(struct kunit *test)
{
	scattered(test, virt, true);
}

static void scattered_rm(struct kunit *test)
{
	struct vio *v = test->priv;

	need_real_mode(test);
	scattered(test, real, false);
	KUNIT_EXPECT_EQ(test, v->vcpu->stat.tce_indirect_rm, 4ULL);
	KUNIT_EXPECT_EQ(test, v->vcpu->stat.tce_stuff_rm, 2ULL);
}

/* A hypervisor's entries: the reference is there before the entry is. */
static void order_hypervisor(struct kunit *test)
{
	struct vio *v = test->priv;
	struct fake *f;

	attach(test, 0, SHIFT, true);
	f = v->hw[0];
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(1), A | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, f->set_a, 2L);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(1), B | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, f->set_a, 2L);
	KUNIT_EXPECT_EQ(test, f->set_b, 2L);
	KUNIT_EXPECT_EQ(test, f->kill_a, 2L);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);

	/* It refuses: what was there is there, references as before. */
	f->fail = 0;
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(2), A | RW, 0),
			H_NOT_ENOUGH_RESOURCES);
	f->fail = -1;
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 2L);
	KUNIT_EXPECT_EQ(test, hw_ua(f, 1), v->ua + B);
	KUNIT_EXPECT_EQ(test, hw_ua(f, 2), ~0UL);
}

/* No memory in the middle of a list: its entries are clear, nothing is held. */
static void no_memory(struct kunit *test)
{
	struct vio *v = test->priv;
	u64 list[8];
	int i;

	attach(test, 0, SHIFT, true);
	for (i = 0; i < 8; i++)
		list[i] = (A + ((i * 7) % 8) * PG) | RW;
	put_list(test, list, 8);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(1), B | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(8), B | RW, 0), H_SUCCESS);
	v->hw[0]->fail = 5;
	KUNIT_EXPECT_EQ(test, virt(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 8),
			H_NOT_ENOUGH_RESOURCES);
	v->hw[0]->fail = -1;
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 2L);
	for (i = 0; i < 8; i++) {
		KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], i), ~0UL);
		KUNIT_EXPECT_EQ(test, get(v, i), 0ULL);
	}
	KUNIT_EXPECT_EQ(test, get(v, 8), B | RW);
}

/* ---- lists ---- */

/* An entry without permissions clears and is kept: no reference, no BUG (B12, B30). */
static void list_poison(struct kunit *test)
{
	struct vio *v = test->priv;
	u64 list[] = { A | RW, 0, 0x123456780ULL, (A + PG) | R, ~0xfffULL, 0xffc };
	hcall_t call;
	int i;

	attach(test, 0, SHIFT, false);
	call = mode_call(test);
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(2), B | RW, 0), H_SUCCESS);
	put_list(test, list, ARRAY_SIZE(list));
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, ARRAY_SIZE(list)),
			H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 3L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);
	for (i = 0; i < ARRAY_SIZE(list); i++) {
		KUNIT_EXPECT_EQ(test, get(v, i), list[i]);
		KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], i),
				list[i] & RW ? v->ua + (list[i] & ~RW) : ~0UL);
	}
}

/* One bad entry: nothing is changed, whatever comes before it. */
static void list_bad_behind(struct kunit *test, hcall_t call, u64 before, u64 bad,
			    long want)
{
	struct vio *v = test->priv;
	u64 list[] = { (B + PG) | RW, B | RW, before, bad, (A + PG) | RW };
	unsigned int kills;
	int i;

	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(2), B | RW, 0), H_SUCCESS);
	put_list(test, list, ARRAY_SIZE(list));
	kills = v->hw[0]->kills;
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, ARRAY_SIZE(list)),
			want);
	KUNIT_EXPECT_EQ(test, v->hw[0]->kills, kills);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 2L);
	for (i = 0; i < ARRAY_SIZE(list); i++) {
		KUNIT_EXPECT_EQ(test, get(v, i), i == 2 ? B | RW : 0);
		KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], i), i == 2 ? v->ua + B : ~0UL);
	}
}

static void list_bad(struct kunit *test, hcall_t call, u64 bad, long want)
{
	list_bad_behind(test, call, 0, bad, want);
	/* In what would be the same run */
	list_bad_behind(test, call, (UNREG - PG) | RW, bad, want);
}

static void list_bad_entry(struct kunit *test)
{
	hcall_t call;

	attach(test, 0, SHIFT, false);
	call = mode_call(test);
	list_bad(test, call, A | 0x100 | RW, H_PARAMETER);
	list_bad(test, call, BEYOND | RW, H_TOO_HARD);
	list_bad(test, call, ROM | W, H_TOO_HARD);
	list_bad(test, call, UNREG | RW, H_TOO_HARD);
	list_bad(test, call, (A + PG / 2) | RW, H_PARAMETER);
	list_bad(test, call, RAM | RW, H_TOO_HARD);
	list_bad(test, call, ~(PG - 1) | RW, H_TOO_HARD);
}

/* ---- tables ---- */

/* Guest pages of 64K, IOMMU pages of 4K: all sixteen, or none. */
static void subpages(struct kunit *test)
{
	struct vio *v = test->priv;
	hcall_t call;
	int i;

	if (P < SZ_64K)
		kunit_skip(test, "the guest's memory is not contiguous enough");
	call = mode_call(test);
	kvmppc_tce_table_free(v->stt);
	v->stt = liobn(test, 16, OFFSET >> 4, 0x1000);
	attach(test, 0, SHIFT, false);
	/* What virtual mode would make */
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, OFFSET << SHIFT, A | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, OFFSET << SHIFT, 0, 0), H_SUCCESS);
	v->hw[0]->kills = 0;

	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, (OFFSET << SHIFT) + SZ_64K, B | RW, 0),
			H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 17L);
	KUNIT_EXPECT_EQ(test, v->hw[0]->kills, 1U);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 15), ~0UL);
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 16 + i), v->ua + B + i * PG);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 32), ~0UL);
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, OFFSET << SHIFT, (A + SZ_4K) | RW, 0),
			H_PARAMETER);
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, OFFSET << SHIFT, UNREG | RW, 0), H_TOO_HARD);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 17L);
	KUNIT_EXPECT_EQ(test, call(v, STUFF, LIOBN, OFFSET << SHIFT, 0, 2), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);
}

/* Several tables behind one LIOBN get the same. */
static void two_tables(struct kunit *test)
{
	struct vio *v = test->priv;
	u64 list[] = { A | RW, 0, B | R, (A + PG) | RW };
	hcall_t call;
	int i, k;

	attach(test, 0, SHIFT, false);
	attach(test, 1, SHIFT, false);
	call = mode_call(test);
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(3), B | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 3L);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 3), v->ua + B);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[1], 3), v->ua + B);
	put_list(test, list, ARRAY_SIZE(list));
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, ARRAY_SIZE(list)),
			H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 5L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 3L);
	for (k = 0; k < 2; k++)
		for (i = 0; i < ARRAY_SIZE(list); i++)
			KUNIT_EXPECT_EQ(test, hw_ua(v->hw[k], i),
					list[i] & RW ? v->ua + (list[i] & ~RW) : ~0UL);
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(2), 0, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);
	KUNIT_EXPECT_EQ(test, call(v, STUFF, LIOBN, IOBA(0), 0, 512), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
}

/* What entries of a v1 container's table lead to, who pins it or not */
static unsigned long user_hpa(struct kunit *test, unsigned long ua)
{
	struct page *page;

	KUNIT_ASSERT_EQ(test, get_user_pages_fast(ua & PAGE_MASK, 1, 0, &page), 1);
	put_page(page);
	return page_to_phys(page) + offset_in_page(ua);
}

/* A v1 container's table: pages are pinned in virtual mode, dropped in real mode too. */
static void pins(struct kunit *test)
{
	struct vio *v = test->priv;
	u64 list[] = { A | RW, UNREG | R, (A + P) | R, (A + 2 * P) | RW };
	unsigned long hpa, i;
	bool rm, dirty;
	hcall_t call;
	long before;

	v->hw[0] = fake_table(test, SHIFT, false);
	iommu_user_pins_init(&v->hw[0]->tbl, false);
	KUNIT_ASSERT_EQ(test, kvmppc_tce_attach(v->stt, &v->hw[0]->tbl, v->grp[0]), 0);
	before = pins_live();
	call = mode_call(test);
	rm = by_real(call);
	KUNIT_EXPECT_EQ(test, pins_live(), before);

	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(9), UNREG | R, 0),
			rm ? H_TOO_HARD : H_SUCCESS);
	KUNIT_EXPECT_EQ(test, pins_live(), before + !rm);
	put_list(test, list, ARRAY_SIZE(list));
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, ARRAY_SIZE(list)),
			rm ? H_TOO_HARD : H_SUCCESS);
	KUNIT_EXPECT_EQ(test, pins_live(), before + (rm ? 0 : 5));
	KUNIT_EXPECT_EQ(test, v->vcpu->arch.tce_rm_lack,
			rm ? KVM_TCE_LACK_SLEEP : KVM_TCE_LACK_NOTHING);
	/* Registered or not, it isn't by regions that these are held. */
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);

	/* Virtual mode goes on: the same once more changes nothing. */
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(9), UNREG | R, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, virt(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, ARRAY_SIZE(list)),
			H_SUCCESS);
	KUNIT_EXPECT_EQ(test, pins_live(), before + 5);
	for (i = 0; i < ARRAY_SIZE(list); i++)
		KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], i),
				user_hpa(test, v->ua + (list[i] & ~RW)));

	/* The process has these pages, too, and no device has written to them. */
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(9), 0, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, call(v, STUFF, LIOBN, IOBA(1), 0, 2), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, pins_live(), before + 2);
	/* One to be dirtied: if it isn't already, real mode can't. */
	rcu_read_lock();
	KUNIT_EXPECT_GT(test, mm_iommu_translate(v->mm, v->ua + 2 * P, &hpa), 0L);
	rcu_read_unlock();
	dirty = PageDirty(pfn_to_page(hpa >> PAGE_SHIFT));
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(3), 0, 0),
			rm && !dirty ? H_TOO_HARD : H_SUCCESS);
	KUNIT_EXPECT_EQ(test, v->vcpu->arch.tce_rm_lack,
			rm && !dirty ? KVM_TCE_LACK_SLEEP : KVM_TCE_LACK_NOTHING);
	KUNIT_EXPECT_EQ(test, virt(v, STUFF, LIOBN, IOBA(0), 0, 512), H_SUCCESS);
	KUNIT_EXPECT_TRUE(test, PageDirty(pfn_to_page(hpa >> PAGE_SHIFT)));
	KUNIT_EXPECT_EQ(test, pins_live(), before);
}

/* A device's memory can be mapped; it is no place for a list with the MMU off. */
static void device_memory(struct kunit *test)
{
	const unsigned long base = 0x6000000000000UL;
	struct mm_iommu_region *dev;
	struct vio *v = test->priv;
	hcall_t call;

	attach(test, 0, SHIFT, false);
	call = mode_call(test);
	KUNIT_ASSERT_EQ(test, mm_iommu_register_dev(v->mm, v->ua + UNREG, RAM - UNREG, base,
						    &dev), 0);
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(0), (UNREG + PG) | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 0), v->ua + UNREG + PG);
	KUNIT_EXPECT_EQ(test, mapped(dev), 2L);
	/* The list is zeros, where there is one. */
	KUNIT_EXPECT_EQ(test, call(v, INDIRECT, LIOBN, IOBA(0), UNREG, 1),
			by_real(call) ? H_TOO_HARD : H_SUCCESS);
	KUNIT_EXPECT_EQ(test, call(v, PUT, LIOBN, IOBA(0), 0, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(dev), 1L);
	KUNIT_EXPECT_EQ(test, mm_iommu_unregister(v->mm, dev), 0);
}

/* ---- why a call goes up ---- */

/* The call is passed on, for this reason and no other, and leaves nothing behind. */
static void goes_up(struct kunit *test, hcall_t call, enum kvmppc_tce_lack lack, enum hcall h,
		    unsigned long liobn, unsigned long ioba, unsigned long arg,
		    unsigned long n)
{
	struct kvm_vcpu *vcpu = ((struct vio *)test->priv)->vcpu;

	vcpu->arch.tce_rm_lack = KVM_TCE_LACK_NOTHING;
	vcpu->arch.tce_lack = KVM_TCE_LACK_NOTHING;
	KUNIT_EXPECT_EQ_MSG(test, call(test->priv, h, liobn, ioba, arg, n), H_TOO_HARD,
			    "call %d, lack %d", h, lack);
	KUNIT_EXPECT_EQ_MSG(test, by_real(call) ? vcpu->arch.tce_rm_lack : vcpu->arch.tce_lack,
			    lack, "call %d", h);
}

/* All of @n pages from @gpa on in the guest's list, one after the other */
static void put_run(struct kunit *test, unsigned long gpa, unsigned int n)
{
	u64 list[64];
	unsigned int i;

	for (i = 0; i < n; i++)
		list[i] = (gpa + i * PG) | RW;
	put_list(test, list, n);
}

static void set_lock(struct vio *v, unsigned long i, bool locked)
{
	struct iommu_span span;
	u64 *head;

	rcu_read_lock();
	iommu_levels_walk(&v->hw[0]->tbl, i, &span);
	head = iommu_view_head(span.view);
	if (locked)
		WRITE_ONCE(*head, *head | IOMMU_VIEW_LOCK);
	else
		WRITE_ONCE(*head, *head & ~IOMMU_VIEW_LOCK);
	rcu_read_unlock();
}

static void why_rm(struct kunit *test)
{
	const enum kvmppc_tce_lack level = KVM_TCE_GVIEW_WORDS > 600 ? KVM_TCE_LACK_LEVEL :
								      KVM_TCE_LACK_GVIEW;
	struct vio *v = test->priv;

	goes_up(test, real, KVM_TCE_LACK_MEMORY, INDIRECT, LIOBN, IOBA(0), RAM, 1);
	goes_up(test, real, KVM_TCE_LACK_REGION, INDIRECT, LIOBN, IOBA(0), UNREG, 1);
	goes_up(test, real, KVM_TCE_LACK_SLEEP, STUFF, LIOBN, IOBA(0), 0, 513);

	/* The next leaf; the view's first page has room for it, or not. */
	goes_up(test, real, level, PUT, LIOBN, IOBA(600), A | RW, 0);
	goes_up(test, real, KVM_TCE_LACK_GVIEW, PUT, LIOBN, IOBA(SIZE - 1), A | RW, 0);
	put_run(test, A, 16);
	goes_up(test, real, level, INDIRECT, LIOBN, IOBA(504), LIST_GPA, 16);
	KUNIT_EXPECT_EQ(test, virt(v, STUFF, LIOBN, IOBA(500), 0, 20), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);

	/* Somebody else changes an entry. */
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(1), A | RW, 0), H_SUCCESS);
	set_lock(v, 1, true);
	goes_up(test, real, KVM_TCE_LACK_LOCK, PUT, LIOBN, IOBA(1), A | RW, 0);
	goes_up(test, real, KVM_TCE_LACK_LOCK, PUT, LIOBN, IOBA(1), 0, 0);
	put_run(test, A, 2);
	goes_up(test, real, KVM_TCE_LACK_LOCK, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 2);
	goes_up(test, real, KVM_TCE_LACK_LOCK, STUFF, LIOBN, IOBA(0), 0, 2);
	set_lock(v, 1, false);
}

/* The list is in a page with a memory error: with the MMU off, reading it ends the host. */
static void list_poisoned_rm(struct kunit *test)
{
#ifdef CONFIG_MEMORY_FAILURE
	struct vio *v = test->priv;
	struct page *page;

	need_real_mode(test);
	attach(test, 0, SHIFT, false);
	warm_up(test);
	put_run(test, A, 2);
	KUNIT_ASSERT_EQ(test, get_user_pages_fast(v->ua + LIST_GPA, 1, 0, &page), 1);
	SetPageHWPoison(page);
	goes_up(test, real, KVM_TCE_LACK_REGION, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 2);
	KUNIT_EXPECT_EQ(test, virt(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 2), H_SUCCESS);
	ClearPageHWPoison(page);
	KUNIT_EXPECT_EQ(test, real(v, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 2), H_SUCCESS);
	put_page(page);
#else
	kunit_skip(test, "no CONFIG_MEMORY_FAILURE");
#endif
}

static void revoke(struct vio *v)
{
	struct iommu_table *tbl = &v->hw[0]->tbl;

	iommu_user_revoke(&tbl, 1);
}

static void why(struct kunit *test)
{
	struct vio *v = test->priv;
	hcall_t call;

	attach(test, 0, SHIFT, false);
	call = mode_call(test);
	/* On the way out it is tried, and passed on. */
	goes_up(test, call, KVM_TCE_LACK_LIOBN, PUT, LIOBN + 1, IOBA(0), A | RW, 0);
	goes_up(test, call, KVM_TCE_LACK_LIOBN, STUFF, LIOBN + 1, IOBA(0), 0, 1);
	goes_up(test, call, KVM_TCE_LACK_MEMORY, PUT, LIOBN, IOBA(0), RAM | RW, 0);
	goes_up(test, call, KVM_TCE_LACK_REGION, PUT, LIOBN, IOBA(0), UNREG | RW, 0);
	put_run(test, UNREG - PG, 2);
	goes_up(test, call, KVM_TCE_LACK_REGION, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 2);
	if (by_real(call)) {
		why_rm(test);
	} else {
		/* The thread is being killed: seen where there was more to do than entries. */
		put_run(test, A, 2);
		sigaddset(&current->pending.signal, SIGKILL);
		set_thread_flag(TIF_SIGPENDING);
		goes_up(test, call, KVM_TCE_LACK_TIME, INDIRECT, LIOBN, IOBA(600), LIST_GPA, 2);
		sigdelset(&current->pending.signal, SIGKILL);
		clear_thread_flag(TIF_SIGPENDING);
	}
	KUNIT_EXPECT_EQ(test, virt(v, STUFF, LIOBN, IOBA(0), 0, 1024), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);

	/* What VFIO has taken back takes nothing any more, but is cleared. */
	revoke(v);
	goes_up(test, call, KVM_TCE_LACK_TABLE, PUT, LIOBN, IOBA(1), A | RW, 0);
	put_run(test, A, 2);
	goes_up(test, call, KVM_TCE_LACK_TABLE, INDIRECT, LIOBN, IOBA(0), LIST_GPA, 2);
	KUNIT_EXPECT_EQ(test, call(v, STUFF, LIOBN, IOBA(0), 0, 2), H_SUCCESS);
}

/* Guest memory goes between the check of a list and its use: what was checked is used. */
static void list_slots(struct kunit *test)
{
	struct vio *v = test->priv;
	struct kvmppc_tce_list *list = kunit_kzalloc(test, sizeof(*list), GFP_KERNEL);
	const u64 tce[] = { A | RW, (B + PG) | RW, B | RW, 0, (ROM + A) | R };
	const unsigned int n = ARRAY_SIZE(tce);
	struct kvmppc_tce_call c;
	__be64 src[ARRAY_SIZE(tce)];
	int i, srcu;

	KUNIT_ASSERT_NOT_NULL(test, list);
	attach(test, 0, SHIFT, false);
	warm_up(test);
	for (i = 0; i < n; i++)
		src[i] = cpu_to_be64(tce[i]);

	srcu = srcu_read_lock(&v->kvm->srcu);
	KUNIT_EXPECT_TRUE(test, kvmppc_tce_begin(&c, v->kvm, H_PUT_TCE_INDIRECT, LIOBN, IOBA(0),
						 0, n));
	c.list = list;
	rcu_read_lock();
	KUNIT_EXPECT_EQ(test, kvmppc_tce_list_check(&c, src), H_SUCCESS);
	rcu_read_unlock();
	/* An empty set */
	rcu_assign_pointer(v->kvm->memslots[0], &v->kvm->__memslots[0][1]);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), A | RW, 0), H_TOO_HARD);
	iommu_user_enter();
	KUNIT_EXPECT_EQ(test, kvmppc_tce_try(&c), H_SUCCESS);
	iommu_user_leave();
	rcu_assign_pointer(v->kvm->memslots[0], &v->kvm->__memslots[0][0]);
	srcu_read_unlock(&v->kvm->srcu, srcu);
	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], i),
				tce[i] ? v->ua + (tce[i] & ~RW & ~ROM) : -1UL);
	KUNIT_EXPECT_EQ(test, virt(v, STUFF, LIOBN, IOBA(0), 0, n), H_SUCCESS);
}

/* Whatever is missing, a call goes on behind the hardware tables that are done. */
static void goes_on(struct kunit *test)
{
	struct vio *v = test->priv;
	struct kvmppc_tce_call c;
	unsigned int kills;
	int srcu;

	attach(test, 0, SHIFT, false);
	warm_up(test);
	/* The one attached last comes first. */
	attach(test, 1, SHIFT, false);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(3), A | RW, 0), H_SUCCESS);
	set_lock(v, 3, true);
	kills = v->hw[1]->kills;

	srcu = srcu_read_lock(&v->kvm->srcu);
	KUNIT_EXPECT_TRUE(test, kvmppc_tce_begin(&c, v->kvm, H_PUT_TCE, LIOBN, IOBA(3), B | RW, 1));
	iommu_user_enter();
	KUNIT_EXPECT_EQ(test, kvmppc_tce_try(&c), H_TOO_HARD);
	KUNIT_EXPECT_EQ(test, c.lack, KVM_TCE_LACK_LOCK);
	KUNIT_EXPECT_PTR_EQ(test, c.hw->tbl, &v->hw[0]->tbl);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[1], 3), v->ua + B);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 3), v->ua + A);
	KUNIT_EXPECT_EQ(test, get(v, 3), (u64)(A | RW));
	set_lock(v, 3, false);
	KUNIT_EXPECT_EQ(test, kvmppc_tce_try(&c), H_SUCCESS);
	iommu_user_leave();
	srcu_read_unlock(&v->kvm->srcu, srcu);
	KUNIT_EXPECT_EQ(test, v->hw[1]->kills, kills + 1);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 3), v->ua + B);
	KUNIT_EXPECT_EQ(test, get(v, 3), (u64)(B | RW));
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 3L);
}

static unsigned int tables_behind(struct vio *v)
{
	return list_count_nodes(&v->stt->iommu_tables);
}

/* Counted per group and table, whatever the order (B23, B29). */
static void attach_detach(struct kunit *test)
{
	struct vio *v = test->priv;
	struct iommu_table *t;
	struct fake *other;

	attach(test, 0, SHIFT, false);
	t = &v->hw[0]->tbl;
	KUNIT_EXPECT_EQ(test, kref_read(&t->it_kref), 2U);
	/* Once more: no change */
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, t, v->grp[0]), 0);
	KUNIT_EXPECT_EQ(test, kref_read(&t->it_kref), 2U);
	/* A second group of the same container */
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, t, v->grp[1]), 0);
	KUNIT_EXPECT_EQ(test, kref_read(&t->it_kref), 2U);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 1U);

	/* The first one leaves, twice: the table stays for the second. */
	kvm_spapr_tce_release_iommu_group(v->kvm, v->grp[0]);
	kvm_spapr_tce_release_iommu_group(v->kvm, v->grp[0]);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 1U);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), A | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 0), v->ua + A);

	/* The second one moves to another table, and the old one is let go. */
	other = fake_table(test, SHIFT, false);
	v->hw[1] = other;
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, &other->tbl, v->grp[1]), 0);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 1U);
	KUNIT_EXPECT_EQ(test, kref_read(&t->it_kref), 1U);
	KUNIT_EXPECT_EQ(test, kref_read(&other->tbl.it_kref), 2U);

	kvm_spapr_tce_release_iommu_group(v->kvm, v->grp[1]);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 0U);
	KUNIT_EXPECT_EQ(test, kref_read(&other->tbl.it_kref), 1U);
}

/* A group that goes hands its tables on to one that has them, too. */
static void inherit(struct kunit *test)
{
	struct vio *v = test->priv;
	struct iommu_table_group *tg[2];
	int i;

	for (i = 0; i < 2; i++) {
		tg[i] = kunit_kzalloc(test, sizeof(*tg[i]), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, tg[i]);
		iommu_group_set_iommudata(v->grp[i], tg[i], NULL);
	}
	attach(test, 0, SHIFT, false);
	v->hw[1] = fake_table(test, SHIFT, false);

	/* Its table is another one. */
	tg[1]->tables[0] = &v->hw[1]->tbl;
	KUNIT_EXPECT_FALSE(test, kvm_spapr_tce_inherit_iommu_group(v->kvm, v->grp[0], v->grp[1]));
	KUNIT_EXPECT_EQ(test, tables_behind(v), 1U);
	kvm_spapr_tce_release_iommu_group(v->kvm, v->grp[1]);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 1U);

	/* The same one: it has one place here, the heir's, and then nobody's. */
	tg[1]->tables[1] = &v->hw[0]->tbl;
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_TRUE(test, kvm_spapr_tce_inherit_iommu_group(v->kvm, v->grp[0],
									  v->grp[1]));
	kvm_spapr_tce_release_iommu_group(v->kvm, v->grp[0]);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 1U);
	KUNIT_EXPECT_EQ(test, kref_read(&v->hw[0]->tbl.it_kref), 2U);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), A | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 0), v->ua + A);

	/* Who is attached himself has his own. */
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, &v->hw[0]->tbl, v->grp[0]), 0);
	kvm_spapr_tce_inherit_iommu_group(v->kvm, v->grp[0], v->grp[1]);
	kvm_spapr_tce_release_iommu_group(v->kvm, v->grp[1]);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 1U);
	kvm_spapr_tce_release_iommu_group(v->kvm, v->grp[0]);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 0U);
	KUNIT_EXPECT_EQ(test, kref_read(&v->hw[0]->tbl.it_kref), 1U);
}

/*
 * Hypercalls hold kvm->srcu. When a group has come, they all know its table (the caller
 * brings it up to date from the view); when it has gone or moved, none knows the old one.
 */
static void waits_for_readers(struct kunit *test)
{
	struct vio *v = test->priv;
	struct srcu_struct *srcu = &v->kvm->srcu;
	unsigned long then;

	v->hw[0] = fake_table(test, SHIFT, false);
	then = get_state_synchronize_srcu(srcu);
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, &v->hw[0]->tbl, v->grp[0]), 0);
	KUNIT_EXPECT_TRUE_MSG(test, poll_state_synchronize_srcu(srcu, then), "comes");
	then = get_state_synchronize_srcu(srcu);
	kvm_spapr_tce_release_iommu_group(v->kvm, v->grp[0]);
	KUNIT_EXPECT_TRUE_MSG(test, poll_state_synchronize_srcu(srcu, then), "goes");

	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, &v->hw[0]->tbl, v->grp[0]), 0);
	v->hw[1] = fake_table(test, SHIFT, false);
	then = get_state_synchronize_srcu(srcu);
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, &v->hw[1]->tbl, v->grp[0]), 0);
	KUNIT_EXPECT_TRUE_MSG(test, poll_state_synchronize_srcu(srcu, then), "moves");
}

static int look_for_no_table(void *data)
{
	struct vio *v = data;
	long seen = 0;
	int i;

	while (!kthread_should_stop()) {
		for (i = 0; i < 1000; i++)
			seen += list_empty(&v->stt->iommu_tables);
		cond_resched();
	}
	return min(seen, (long)INT_MAX);
}

/* A group moves between two tables: a hypercall finds one at any time. */
static void moves(struct kunit *test)
{
	struct vio *v = test->priv;
	unsigned long end = jiffies + 2 * HZ;
	struct task_struct *t;
	int i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	attach(test, 0, SHIFT, false);
	v->hw[1] = fake_table(test, SHIFT, false);
	t = kthread_run(look_for_no_table, v, "vio_kunit_moves");
	KUNIT_ASSERT_FALSE(test, IS_ERR(t));
	for (i = 1; i <= 400 || time_before(jiffies, end); i++)
		KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, &v->hw[i & 1]->tbl, v->grp[0]), 0);
	KUNIT_EXPECT_EQ(test, kthread_stop(t), 0);
	KUNIT_EXPECT_EQ(test, tables_behind(v), 1U);
}

struct close_work {
	struct work_struct work;
	struct kvmppc_spapr_tce_table *stt;
	struct completion done;
};

static void close_it(struct work_struct *work)
{
	struct close_work *c = container_of(work, struct close_work, work);

	kvmppc_tce_table_free(c->stt);
	complete(&c->done);
}

/* A LIOBN is closed during a hypercall: that is not waited for, and finds what it found. */
static void close_in_use(struct kunit *test)
{
	struct vio *v = test->priv;
	struct close_work c = { .stt = v->stt };
	unsigned long locked;
	int srcu;

	locked = v->mm->locked_vm - v->stt->pages;
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), A | RW, 0), H_SUCCESS);
	INIT_WORK_ONSTACK(&c.work, close_it);
	init_completion(&c.done);

	srcu = srcu_read_lock(&v->kvm->srcu);
	queue_work(system_long_wq, &c.work);
	KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&c.done, 10 * HZ), 0UL);
	/* Not found any more, but there; its charge is given back. */
	KUNIT_EXPECT_EQ(test, virt(v, GET, LIOBN, IOBA(0), 0, 0), H_TOO_HARD);
	KUNIT_EXPECT_EQ(test, (unsigned long)v->mm->locked_vm, locked);
	KUNIT_EXPECT_EQ(test, READ_ONCE(*kvmppc_tce_word_alloc(c.stt, 0)), (u64)(A | RW));
	srcu_read_unlock(&v->kvm->srcu, srcu);
	flush_work(&c.work);
	destroy_work_on_stack(&c.work);

	/* The name can be given again before the rest is freed. */
	v->stt = liobn(test, SHIFT, OFFSET, SIZE);
	KUNIT_EXPECT_EQ(test, get(v, 0), 0ULL);
}

/*
 * QEMU removes a window, closes its LIOBN and makes both anew, at the limit of locked memory: the
 * close is the last to put the table, and uncharges it before it returns.
 */
static void close_uncharges_table(struct kunit *test)
{
	struct vio *v = test->priv;
	struct srcu_struct *srcu = &v->kvm->srcu;
	unsigned long then;

	attach(test, 0, SHIFT, false);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), A | RW, 0), H_SUCCESS);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), 0, 0), H_SUCCESS);
	KUNIT_EXPECT_GT(test, (unsigned long)v->mm->locked_vm, RAM_LOCKED + v->stt->pages);
	KUNIT_ASSERT_EQ(test, iommu_tce_table_put(&v->hw[0]->tbl), 0);
	v->hw[0] = NULL;

	then = get_state_synchronize_srcu(srcu);
	kvmppc_tce_table_free(v->stt);
	KUNIT_EXPECT_EQ(test, (unsigned long)v->mm->locked_vm, RAM_LOCKED);
	KUNIT_EXPECT_TRUE(test, poll_state_synchronize_srcu(srcu, then));
	v->stt = liobn(test, SHIFT, OFFSET, SIZE);
}

/* What is closed and not freed yet stays bounded, though its charge is given back. */
static void close_bounded(struct kunit *test)
{
	struct vio *v = test->priv;
	unsigned long pages = v->stt->pages, most = 0;
	int i;

	for (i = 0; i < 2 * SZ_64M / P; i += pages) {
		kvmppc_tce_table_free(v->stt);
		v->stt = liobn(test, SHIFT, OFFSET, SIZE);
		most = max_t(unsigned long, most,
			     atomic_long_read(&v->kvm->arch.tce_free_pages));
	}
	KUNIT_EXPECT_LE(test, most, SZ_64M / P);
	KUNIT_EXPECT_EQ(test, (unsigned long)v->mm->locked_vm, RAM_LOCKED + pages);
}

#define LIOBNS		20000

/* Nodes from the root of the index to the LIOBN's */
static unsigned int depth(struct kvmppc_spapr_tce_table *stt)
{
	struct rb_node *n = &stt->node.node[0];
	unsigned int d = 0;

	for (; n; n = rb_parent(n))
		d++;
	return d;
}

/* Time base of 100 look-ups, the least of some tries */
static unsigned long find_ticks(struct kvm *kvm, unsigned long liobn)
{
	unsigned long least = ULONG_MAX, then;
	int i, k;

	for (k = 0; k < 10; k++) {
		preempt_disable();
		then = mftb();
		for (i = 0; i < 100; i++)
			kvmppc_tce_find(kvm, liobn);
		least = min(least, mftb() - then);
		preempt_enable();
	}
	return least;
}

/* Many LIOBNs, in an order that a plain tree would not like: each is found, and soon. */
static void many_liobns(struct kunit *test)
{
	struct kvmppc_spapr_tce_table *stt, *next;
	struct vio *v = test->priv;
	struct kvm_create_spapr_tce_64 args = { .page_shift = 12, .size = 1 };
	unsigned long one = find_ticks(v->kvm, LIOBN) + 1;
	unsigned int deepest = 0, bad = 0;
	int i;

	for (i = 1; i <= LIOBNS; i++) {
		args.liobn = LIOBN + i;
		stt = kvmppc_tce_table_create(v->kvm, &args);
		if (IS_ERR(stt))
			break;
	}
	KUNIT_EXPECT_EQ(test, i, LIOBNS + 1);
	list_for_each_entry(stt, &v->kvm->arch.spapr_tce_tables, list) {
		deepest = max(deepest, depth(stt));
		bad += kvmppc_tce_find(v->kvm, stt->liobn) != stt;
	}
	KUNIT_EXPECT_EQ(test, bad, 0U);
	KUNIT_EXPECT_LE(test, deepest, 2 * (ilog2(LIOBNS) + 1U));
	/* Some times the depth, not some thousand; KCSAN waits within accesses. */
	for (i = 0; !IS_ENABLED(CONFIG_KCSAN) && i <= LIOBNS; i += LIOBNS / 4)
		KUNIT_EXPECT_LT(test, find_ticks(v->kvm, LIOBN + i), 100 * one);
	KUNIT_EXPECT_PTR_EQ(test, kvmppc_tce_find(v->kvm, LIOBN - 1), NULL);
	KUNIT_EXPECT_PTR_EQ(test, kvmppc_tce_find(v->kvm, LIOBN + LIOBNS + 1), NULL);

	list_for_each_entry_safe(stt, next, &v->kvm->arch.spapr_tce_tables, list)
		if (stt != v->stt)
			kvmppc_tce_table_free(stt);
	KUNIT_EXPECT_PTR_EQ(test, kvmppc_tce_find(v->kvm, LIOBN + LIOBNS), NULL);
	KUNIT_EXPECT_PTR_EQ(test, kvmppc_tce_find(v->kvm, LIOBN), v->stt);
}

static void attach_refused(struct kunit *test)
{
	struct vio *v = test->priv;
	struct iommu_table *t;

	v->hw[0] = fake_table(test, SHIFT, false);
	t = &v->hw[0]->tbl;
	/* Another process's addresses (B19), nobody's, another shape */
	t->it_mm = &init_mm;
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, t, v->grp[0]), -EPERM);
	t->it_mm = NULL;
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, t, v->grp[0]), -EINVAL);
	t->it_mm = v->mm;
	t->it_offset++;
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, t, v->grp[0]), -EINVAL);
	/* The same place on the bus, but larger pages than the guest's */
	t->it_page_shift = 16;
	t->it_offset = OFFSET >> (16 - SHIFT);
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, t, v->grp[0]), -EINVAL);
	t->it_page_shift = SHIFT;
	t->it_offset = OFFSET;
	t->it_size = SIZE - 1;
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, t, v->grp[0]), -EINVAL);
	t->it_size = SIZE;
	KUNIT_EXPECT_EQ(test, kvmppc_tce_attach(v->stt, t, v->grp[0]), 0);
}

/* What VFIO has taken back can't be set any more, and nothing is held for it. */
static void revoked(struct kunit *test)
{
	struct vio *v = test->priv;

	attach(test, 0, SHIFT, false);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), A | RW, 0), H_SUCCESS);
	revoke(v);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(1), A | RW, 0), H_TOO_HARD);
	KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, IOBA(0), B | RW, 0), H_TOO_HARD);
	KUNIT_EXPECT_EQ(test, mapped(v->a), 2L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);
	KUNIT_EXPECT_EQ(test, v->vcpu->arch.tce_lack, KVM_TCE_LACK_TABLE);
}

static unsigned long pages_there(void *page, unsigned int shift)
{
	unsigned long i, n = 1;

	if (!page)
		return 0;
	for (i = 0; shift && i < KVM_TCE_GVIEW_WORDS; i++)
		n += pages_there(((void **)page)[i], shift - KVM_TCE_GVIEW_SHIFT);
	return n;
}

/* Windows of all sizes; the view costs what was written. */
static void view_sizes(struct kunit *test)
{
	static const struct {
		u32 shift;
		u64 offset, size;
	} w[] = {
		{ 12, 0, 1 }, { 16, 0, KVM_TCE_GVIEW_WORDS }, { 16, 0, KVM_TCE_GVIEW_WORDS + 1 },
		{ 16, BIT(59 - 16), BIT(31) }, { 12, 0, BIT(40) + 3 }, { 12, 7, BIT(52) - 8 },
		{ 34, 0, BIT(30) - 1 },
	};
	struct vio *v = test->priv;
	unsigned long at, i;
	int k;

	for (k = 0; k < ARRAY_SIZE(w); k++) {
		kvmppc_tce_table_free(v->stt);
		KUNIT_EXPECT_EQ(test, (unsigned long)v->mm->locked_vm, RAM_LOCKED);
		v->stt = liobn(test, w[k].shift, w[k].offset, w[k].size);
		for (i = 0; i < 64; i++) {
			at = (w[k].size - 1) >> i;
			KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN,
						   (w[k].offset + at) << w[k].shift,
						   (i + 1) << 8, 0), H_SUCCESS);
		}
		for (i = 0; i < 64; i++) {
			at = (w[k].size - 1) >> i;
			if (i < 63 && at == (w[k].size - 1) >> (i + 1))
				continue;
			KUNIT_EXPECT_EQ(test, virt(v, GET, LIOBN,
						   (w[k].offset + at) << w[k].shift, 0, 0),
					H_SUCCESS);
			KUNIT_EXPECT_EQ(test, kvmppc_get_gpr(v->vcpu, 4), (i + 1) << 8);
		}
		KUNIT_EXPECT_LE(test, pages_there(v->stt->gview, v->stt->shift), 64UL * 6);
		KUNIT_EXPECT_EQ(test, virt(v, GET, LIOBN, (w[k].offset + w[k].size) <<
					   w[k].shift, 0, 0), H_PARAMETER);
	}
}

static void create_refused(struct kunit *test)
{
	static const struct kvm_create_spapr_tce_64 bad[] = {
		{ .liobn = 1, .page_shift = 11, .size = 1 },
		{ .liobn = 1, .page_shift = 35, .size = 1 },
		{ .liobn = 1, .page_shift = 12, .size = 0 },
		{ .liobn = 1, .page_shift = 12, .size = BIT(52) },
		{ .liobn = 1, .page_shift = 12, .size = ~0ULL },
		{ .liobn = 1, .page_shift = 12, .offset = ~0ULL, .size = 2 },
		{ .liobn = 1, .page_shift = 12, .offset = BIT(52) - 2, .size = 2 },
	};
	struct kvm_create_spapr_tce_64 args = { .liobn = LIOBN, .page_shift = 12, .size = 1 };
	struct vio *v = test->priv;
	unsigned long locked = v->mm->locked_vm;
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_PTR_EQ(test, kvmppc_tce_table_create(v->kvm, &bad[i]),
				    ERR_PTR(-EINVAL));
	/* The LIOBN is taken. */
	KUNIT_EXPECT_PTR_EQ(test, kvmppc_tce_table_create(v->kvm, &args), ERR_PTR(-EBUSY));
	KUNIT_EXPECT_EQ(test, (unsigned long)v->mm->locked_vm, locked);
}

static void memlock(unsigned long pages)
{
	task_lock(current->group_leader);
	current->signal->rlim[RLIMIT_MEMLOCK].rlim_cur = pages << PAGE_SHIFT;
	task_unlock(current->group_leader);
}

/*
 * A view is charged whole when its LIOBN is created, or that fails. After that no limit is in
 * the way: each of its pages can be had by a hypercall.
 */
static void view_limit(struct kunit *test)
{
	static const struct {
		u64 size;
		unsigned long pages;
	} w[] = {
		{ KVM_TCE_GVIEW_WORDS, 1 },
		{ KVM_TCE_GVIEW_WORDS + 1, 2 + 1 },
		{ 5 * KVM_TCE_GVIEW_WORDS - 7, 5 + 1 },
		{ KVM_TCE_GVIEW_WORDS * KVM_TCE_GVIEW_WORDS + 1, KVM_TCE_GVIEW_WORDS + 1 + 2 + 1 },
	};
	struct kvm_create_spapr_tce_64 args = { .liobn = LIOBN, .page_shift = 12 };
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct vio *v = test->priv;
	const struct cred *old;
	unsigned long i;
	unsigned int k;

	kvmppc_tce_table_free(v->stt);
	old = ipc_lock_drop(test);
	for (k = 0; k < ARRAY_SIZE(w); k++) {
		args.size = w[k].size;
		memlock(RAM_LOCKED + w[k].pages - 1);
		KUNIT_EXPECT_PTR_EQ(test, kvmppc_tce_table_create(v->kvm, &args), ERR_PTR(-ENOMEM));
		KUNIT_EXPECT_EQ(test, (unsigned long)v->mm->locked_vm, RAM_LOCKED);
		memlock(RAM_LOCKED + w[k].pages);
		v->stt = kvmppc_tce_table_create(v->kvm, &args);
		KUNIT_ASSERT_FALSE(test, IS_ERR(v->stt));
		KUNIT_EXPECT_EQ(test, (unsigned long)v->mm->locked_vm, RAM_LOCKED + w[k].pages);
		KUNIT_EXPECT_EQ(test, pages_there(v->stt->gview, v->stt->shift), 0UL);
		memlock(0);
		for (i = 0; i < w[k].size && i < 64 * KVM_TCE_GVIEW_WORDS; i += KVM_TCE_GVIEW_WORDS)
			KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, i << 12, 0x10, 0), H_SUCCESS);
		KUNIT_EXPECT_EQ(test, virt(v, PUT, LIOBN, (w[k].size - 1) << 12, 0x20, 0),
				H_SUCCESS);
		kvmppc_tce_table_free(v->stt);
		KUNIT_EXPECT_EQ(test, (unsigned long)v->mm->locked_vm, RAM_LOCKED);
	}
	ipc_lock_back(old);
	memlock(limit);
	v->stt = liobn(test, SHIFT, OFFSET, SIZE);
}

/* ---- at once ---- */

static void is_at_once(struct kunit *test, bool want, enum hcall h, unsigned long i,
		       unsigned long arg, unsigned long n, const char *what)
{
	struct vio *v = test->priv;

	v->at_once = 0;
	p9(v, h, LIOBN, IOBA(i), arg, n);
	KUNIT_EXPECT_EQ_MSG(test, v->at_once, want, "%s", what);
}

static void at_once_none(struct kunit *test)
{
	struct vio *v = test->priv;

	is_at_once(test, true, PUT, 3, 0, 0, "clear");
	is_at_once(test, true, GET, 3, 0, 0, "get, no page");
	is_at_once(test, false, PUT, 3, 0x10, 0, "poison, no page");
	is_at_once(test, true, PUT, 3, 0x20, 0, "poison");
	is_at_once(test, true, PUT, 4, A | RW, 0, "map");
	is_at_once(test, false, PUT, 4, BEYOND | RW, 0, "no memory");
	is_at_once(test, false, PUT, 4, ROM | RW, 0, "ROM, to write");
	is_at_once(test, true, PUT, 4, ROM | R, 0, "ROM, to read");
	is_at_once(test, true, PUT, SIZE, 0, 0, "after the last");
	is_at_once(test, true, STUFF, 0, 0, 512, "stuff");
	is_at_once(test, false, STUFF, 0, 0, 513, "too many");
	is_at_once(test, true, STUFF, 0, 0x10, 512, "stuff poison");
	is_at_once(test, false, STUFF, SIZE - 2, 0x10, 2, "stuff poison, no page");
	is_at_once(test, true, STUFF, SIZE - 2, 0, 3, "over the end");

	/* User space wants to see these itself. */
	clear_bit(H_PUT_TCE / 4, v->kvm->arch.enabled_hcalls);
	is_at_once(test, false, PUT, 4, 0, 0, "not enabled");
}

static void at_once_one(struct kunit *test)
{
	struct vio *v = test->priv;
	int srcu;

	attach(test, 0, SHIFT, false);
	is_at_once(test, false, PUT, 0, A | RW, 0, "no level");
	is_at_once(test, true, PUT, 0, (A + PG) | RW, 0, "replace");
	is_at_once(test, true, PUT, 0, B | RW, 0, "replace from another region");
	is_at_once(test, false, PUT, 0, UNREG | RW, 0, "not registered");
	is_at_once(test, true, GET, 0, 0, 0, "get");
	is_at_once(test, true, STUFF, 0, 0, 1, "stuff");
	is_at_once(test, true, PUT, 1, A | RW, 0, "map");
	KUNIT_EXPECT_EQ(test, mapped(v->a), 2L);

	/* Somebody else changes the entry: it waits a little, and changes nothing. */
	kvmppc_set_gpr(v->vcpu, 3, H_PUT_TCE);
	kvmppc_set_gpr(v->vcpu, 4, LIOBN);
	kvmppc_set_gpr(v->vcpu, 5, IOBA(1));
	kvmppc_set_gpr(v->vcpu, 6, 0);
	set_lock(v, 1, true);
	srcu = srcu_read_lock(&v->kvm->srcu);
	KUNIT_EXPECT_FALSE(test, kvmppc_tce_hcall_at_once(v->vcpu, H_PUT_TCE));
	srcu_read_unlock(&v->kvm->srcu, srcu);
	KUNIT_EXPECT_EQ(test, kvmppc_get_gpr(v->vcpu, 3), (unsigned long)H_PUT_TCE);
	set_lock(v, 1, false);
	KUNIT_EXPECT_EQ(test, get(v, 1), (u64)(A | RW));
	is_at_once(test, true, PUT, 1, 0, 0, "clear");
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);

	is_at_once(test, true, PUT, 0, 0, 0, "clear");
	revoke(v);
	is_at_once(test, false, PUT, 0, A | RW, 0, "revoked");
}

/* A hypervisor's: single entries, by one hypercall before preemption */
static void at_once_hypervisor(struct kunit *test)
{
	struct vio *v = test->priv;
	int i;

	attach(test, 0, SHIFT, true);
	is_at_once(test, false, PUT, 0, A | RW, 0, "no level");
	is_at_once(test, true, PUT, 0, (A + PG) | RW, 0, "replace");
	is_at_once(test, true, PUT, 0, B | RW, 0, "replace from another region");
	is_at_once(test, false, PUT, 0, UNREG | RW, 0, "not registered");
	is_at_once(test, false, STUFF, 0, 0, 2, "two");
	is_at_once(test, true, STUFF, 0, 0, 1, "one");
	v->hw[0]->fail = 0;
	is_at_once(test, false, PUT, 1, A | RW, 0, "refused");
	v->hw[0]->fail = -1;
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 1L);
	KUNIT_EXPECT_EQ(test, hw_ua(v->hw[0], 1), ~0UL);

	attach(test, 1, SHIFT, true);
	is_at_once(test, false, PUT, 0, A | RW, 0, "two tables, no level");
	is_at_once(test, false, PUT, 0, B | RW, 0, "two tables");
	KUNIT_EXPECT_EQ(test, mapped(v->a), 1L);
	KUNIT_EXPECT_EQ(test, mapped(v->b), 3L);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, hw_ua(v->hw[i], 0), v->ua + B);
	KUNIT_EXPECT_EQ(test, get(v, 0), (u64)(B | RW));
}

/* ---- zeroing ---- */

/* Exactly the words that are to be zeroed are, wherever cache lines begin. */
static void zero(struct kunit *test, hcall_t call)
{
	static const unsigned int at[] = { 0, 1, 15, 16, 17, 100 };
	static const unsigned int len[] = { 0, 1, 15, 16, 17, 31, 32, 49, 500 };
	struct vio *v = test->priv;
	unsigned int i, k, n, bad = 0;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		for (k = 0; k < ARRAY_SIZE(len); k++) {
			virt(v, STUFF, LIOBN, IOBA(0), 0x770, 640);
			KUNIT_EXPECT_EQ(test, call(v, STUFF, LIOBN, IOBA(at[i]), 0, len[k]),
					H_SUCCESS);
			for (n = 0; n < 640; n++)
				bad += get(v, n) != (n - at[i] < len[k] ? 0 : 0x770);
		}
	}
	KUNIT_EXPECT_EQ(test, bad, 0U);
}

static void zero_virt(struct kunit *test)
{
	zero(test, virt);
}

static void zero_p9(struct kunit *test)
{
	struct vio *v = test->priv;

	zero(test, p9);
	KUNIT_EXPECT_EQ(test, v->at_once, 6U * 9);
}

static void zero_rm(struct kunit *test)
{
	need_real_mode(test);
	zero(test, real);
}

static struct kunit_case vio_cases[] = {
	KUNIT_CASE(answers_none),
	KUNIT_CASE(answers_one),
	KUNIT_CASE(answers_two),
	KUNIT_CASE(answers_none_rm),
	KUNIT_CASE(answers_one_rm),
	KUNIT_CASE(answers_none_p9),
	KUNIT_CASE(answers_one_p9),
	KUNIT_CASE(answers_two_p9),
	KUNIT_CASE(not_ready_rm),
	KUNIT_CASE(order_virt),
	KUNIT_CASE(order_rm),
	KUNIT_CASE(order_p9),
	KUNIT_CASE(order_hypervisor),
	KUNIT_CASE(scattered_virt),
	KUNIT_CASE(scattered_hypervisor),
	KUNIT_CASE(scattered_rm),
	KUNIT_CASE(no_memory),
	KUNIT_CASE_PARAM(list_poison, mode_gen_params),
	KUNIT_CASE_PARAM(list_bad_entry, mode_gen_params),
	KUNIT_CASE_PARAM(subpages, mode_gen_params),
	KUNIT_CASE_PARAM(two_tables, mode_gen_params),
	KUNIT_CASE_PARAM(pins, mode_gen_params),
	KUNIT_CASE_PARAM(device_memory, mode_gen_params),
	KUNIT_CASE_PARAM(why, mode_gen_params),
	KUNIT_CASE(list_slots),
	KUNIT_CASE(list_poisoned_rm),
	KUNIT_CASE(goes_on),
	KUNIT_CASE(attach_detach),
	KUNIT_CASE(inherit),
	KUNIT_CASE(waits_for_readers),
	KUNIT_CASE_SLOW(moves),
	KUNIT_CASE(close_in_use),
	KUNIT_CASE(close_uncharges_table),
	KUNIT_CASE(close_bounded),
	KUNIT_CASE(many_liobns),
	KUNIT_CASE(attach_refused),
	KUNIT_CASE(revoked),
	KUNIT_CASE(view_sizes),
	KUNIT_CASE(create_refused),
	KUNIT_CASE(view_limit),
	KUNIT_CASE(at_once_none),
	KUNIT_CASE(at_once_one),
	KUNIT_CASE(at_once_hypervisor),
	KUNIT_CASE(zero_virt),
	KUNIT_CASE(zero_p9),
	KUNIT_CASE(zero_rm),
	{},
};

static struct kunit_suite vio_suite = {
	.name = "book3s_64_vio",
	.init = vio_init,
	.exit = vio_exit,
	.test_cases = vio_cases,
};

kunit_test_suite(vio_suite);
