// SPDX-License-Identifier: GPL-2.0
/*
 * Random TCE hypercalls of 1 to 4 vCPUs, while the host may attach, detach, register and close.
 * A model predicts the result of each call.
 *
 *	kvm_tce_fuzz [-s SEED] [-n CALLS] [-p PROGRAM] [GROUP]
 *
 * A program is a new VM and container with two LIOBNs: one has the container's window as a
 * hardware table, the other has none. Each vCPU uses TCEs of its own in both, so the model
 * does not depend on the order of calls. In every other program another thread of the host
 * disturbs: then a call may also return to user space (which does nothing here), and its TCEs
 * are unknown until they are set again.
 *
 * Without such a thread, the region's count of TCEs that lead into it is the model's. After
 * each program the numbers of pinned pages, of locked pages and of regions are those before
 * it. The seed is printed; -s SEED -p PROGRAM replays one program (each vCPU's calls, not
 * their interleaving).
 */
#include <getopt.h>
#include <pthread.h>

#include "vfio_spapr_kvm.h"

#define RAM		(32 * MiB)
#define GUEST_PAGES	((RAM - MAP_FROM) / 4096)
#define ENTRIES		16384UL
#define OWN		512UL		/* TCEs of a vCPU in each LIOBN that are used */
#define BATCH		64U		/* calls of a vCPU at a time */
#define BATCHES		6		/* of a program */
#define LIOBNS		2		/* with hardware behind it, without */
#define UNKNOWN		(~0ULL)

struct fuzz_vcpu {
	pthread_t thread;
	struct vcpu *v;
	unsigned int nr;
	__u64 state;
	__u64 tce[LIOBNS][OWN];		/* as the guest wrote it; UNKNOWN */
	/* What the list's calls must answer: result, and TCE for H_GET_TCE */
	long ret[BATCH];
	__u64 out[BATCH];
	int error;
};

static struct vm vm;
static struct container c;
static int table[LIOBNS] = { -1, -1 };
static struct fuzz_vcpu vcpus[MAX_VCPUS];
static bool disturbed;
static volatile bool stop;

static unsigned int seed = 1, program;
static unsigned long calls_left = 10000, calls_made, went_up;
static bool wrong;

static unsigned int draw_from(__u64 *state, unsigned int below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 33) % below;
}

#define draw(f, below)	draw_from(&(f)->state, below)

static __u64 liobn_of(unsigned int l)
{
	return 0x80000001ULL + l;
}

static void tell(const char *what, long wanted, long got)
{
	wrong = true;
	ksft_print_msg("seed %u program %u: %s: wanted %#lx, got %#lx\n", seed, program, what,
		       wanted, got);
}

/* ---- calls and what they must answer ---- */

/* A TCE that is right, clears, or is misaligned */
static __u64 any_tce(struct fuzz_vcpu *f)
{
	__u64 gpa = MAP_FROM + draw(f, GUEST_PAGES) * 4096ULL;

	switch (draw(f, 16)) {
	case 0:
		return 0;
	case 1:		/* kept in the guest's table, clear in the hardware's */
		return gpa | 0x7f0;
	case 2:
		return gpa | 0x100 | TCE_READ;
	default:
		return gpa | (1 + draw(f, 3));
	}
}

static bool tce_is_right(__u64 tce)
{
	return !(tce & TCE_RW) || !(tce & 0xffc);
}

/* Bus address of TCE @i of a vCPU */
static __u64 ioba_of(struct fuzz_vcpu *f, unsigned long i)
{
	return (f->nr * (ENTRIES / MAX_VCPUS) + i) << 12;
}

static void set_model(struct fuzz_vcpu *f, unsigned int l, unsigned long first, unsigned long n,
		      const __be64 *list, __u64 value)
{
	unsigned long i;

	for (i = first; i < first + n && i < OWN; i++)
		f->tce[l][i] = list ? be64toh(list[i - first]) : value;
}

static void expect(struct fuzz_vcpu *f, unsigned int at, long ret, __u64 out)
{
	f->ret[at] = ret;
	f->out[at] = out;
}

static void fuzz_put(struct fuzz_vcpu *f, unsigned int at, unsigned int l)
{
	unsigned long i = draw(f, OWN);
	__u64 tce = any_tce(f), ioba = ioba_of(f, i);
	bool right = tce_is_right(tce);

	if (!draw(f, 24)) {
		ioba = draw(f, 2) ? ioba + 8 : ENTRIES << 12;
		right = false;
	}
	hcall_set(&f->v->calls[at], H_PUT_TCE, liobn_of(l), ioba, tce, 0);
	expect(f, at, right ? H_SUCCESS : H_PARAMETER, 0);
	if (right)
		set_model(f, l, i, 1, NULL, tce);
}

static void fuzz_get(struct fuzz_vcpu *f, unsigned int at, unsigned int l)
{
	unsigned long i = draw(f, OWN);

	if (!draw(f, 24)) {
		hcall_set(&f->v->calls[at], H_GET_TCE, liobn_of(l), ENTRIES << 12, 0, 0);
		expect(f, at, H_PARAMETER, UNKNOWN);
		return;
	}
	hcall_set(&f->v->calls[at], H_GET_TCE, liobn_of(l), ioba_of(f, i), 0, 0);
	expect(f, at, H_SUCCESS, f->tce[l][i]);
}

static void fuzz_stuff(struct fuzz_vcpu *f, unsigned int at, unsigned int l)
{
	unsigned long i = draw(f, OWN), n = 1 + draw(f, OWN - i);
	__u64 value = draw(f, 3) ? 0 : draw(f, 4) ? 0xabc0 : 0x10001;
	bool right = !(value & TCE_RW);

	if (!draw(f, 24)) {
		n = ENTRIES + 1;
		right = false;
	}
	hcall_set(&f->v->calls[at], H_STUFF_TCE, liobn_of(l), ioba_of(f, i), value, n);
	expect(f, at, right ? H_SUCCESS : H_PARAMETER, 0);
	if (right)
		set_model(f, l, i, n, NULL, value);
}

/* The vCPU has one list page: a batch has one INDIRECT at most. */
static void fuzz_indirect(struct fuzz_vcpu *f, unsigned int at, unsigned int l)
{
	unsigned long i = draw(f, OWN), n = 1 + draw(f, OWN - i), k;
	__u64 gpa = f->v->list_gpa;
	bool right = true, row = draw(f, 2);
	__u64 first = MAP_FROM + draw(f, GUEST_PAGES - OWN) * 4096ULL;

	for (k = 0; k < n; k++) {
		__u64 tce = row ? (first + k * 4096) | TCE_RW : any_tce(f);

		/* Mostly all are right, or no list ever would be. */
		if (!tce_is_right(tce) && draw(f, 256))
			tce = 0;
		f->v->list[k] = htobe64(tce);
		right &= tce_is_right(tce);
	}
	if (!draw(f, 24)) {
		right = false;
		if (draw(f, 2))
			gpa += 8;
		else
			n = 513;
	}
	hcall_set(&f->v->calls[at], H_PUT_TCE_INDIRECT, liobn_of(l), ioba_of(f, i), gpa, n);
	expect(f, at, right ? H_SUCCESS : H_PARAMETER, 0);
	if (right)
		set_model(f, l, i, n, f->v->list, 0);
}

static void make_batch(struct fuzz_vcpu *f)
{
	unsigned int at, l, list = draw(f, BATCH);

	for (at = 0; at < BATCH; at++) {
		l = draw(f, LIOBNS);
		if (at == list)
			fuzz_indirect(f, at, l);
		else if (!draw(f, 8))
			fuzz_stuff(f, at, l);
		else if (draw(f, 3))
			fuzz_put(f, at, l);
		else
			fuzz_get(f, at, l);
	}
}

/* A call went up, in a program that is disturbed: what the model says of that LIOBN is void. */
static void void_model(struct fuzz_vcpu *f, const struct hcall *call)
{
	unsigned int l = call->arg[0] != liobn_of(0);
	unsigned long i;

	for (i = 0; i < OWN; i++)
		f->tce[l][i] = UNKNOWN;
	__atomic_fetch_add(&went_up, 1, __ATOMIC_RELAXED);
}

static void check_batch(struct fuzz_vcpu *f)
{
	bool void_of[LIOBNS] = { false, false };
	unsigned int at, l;

	for (at = 0; at < BATCH && !wrong; at++) {
		struct hcall *call = &f->v->calls[at];

		l = call->arg[0] != liobn_of(0);
		if (disturbed && call->ret == WENT_UP) {
			void_model(f, call);
			void_of[l] = true;
		} else if (call->ret != f->ret[at]) {
			ksft_print_msg("vcpu %u call %#llx(%#llx, %#llx, %#llx, %#llx)\n", f->nr,
				       (unsigned long long)call->nr,
				       (unsigned long long)call->arg[0],
				       (unsigned long long)call->arg[1],
				       (unsigned long long)call->arg[2],
				       (unsigned long long)call->arg[3]);
			tell("the call's answer", f->ret[at], call->ret);
		} else if (call->nr == H_GET_TCE && call->ret == H_SUCCESS && !void_of[l] &&
			   f->out[at] != UNKNOWN && call->out != f->out[at]) {
			tell("the TCE", f->out[at], call->out);
		}
	}
}

static void *vcpu_thread(void *arg)
{
	struct fuzz_vcpu *f = arg;
	unsigned int i;

	for (i = 0; i < BATCHES && !wrong; i++) {
		make_batch(f);
		f->error = vcpu_run(f->v, BATCH);
		if (f->error) {
			tell("KVM_RUN", 0, f->error);
			break;
		}
		check_batch(f);
		__atomic_fetch_add(&calls_made, BATCH, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* ---- the host ---- */

/* Everything that may happen in the host while a guest makes hypercalls */
static void *disturb(void *arg)
{
	char *m = anonymous(MiB);
	__u64 state = ((__u64)seed << 32) + program + 0x5eed, n;
	int extra = -1;

	(void)arg;
	while (!stop) {
		switch (draw_from(&state, 8)) {
		case 0:
			vm_group_del(&vm, c.group);
			break;
		case 1:
			vm_group_give(&vm, c.group, table[0]);
			break;
		case 2:
			if (extra < 0)
				extra = vm_create_table(&vm, 0x90000000, 12, 0, 4096);
			break;
		case 3:
			if (extra >= 0)
				close(extra);
			extra = -1;
			break;
		case 4:
			memset(m, 1, MiB);
			do_register(&c, m, MiB);
			break;
		case 5:
			do_unregister(&c, m, MiB);
			break;
		case 6:
			n = 4096 * (1 + draw_from(&state, 64));
			do_unmap_at(&c, ioba_of(&vcpus[0], draw_from(&state, OWN)), &n, 0);
			break;
		case 7:	/* memory slots come and go */
			vm_slot(&vm, 1, GiB, m, draw_from(&state, 2) ? MiB : 0);
			break;
		}
		sched_yield();
	}
	if (extra >= 0)
		close(extra);
	do_unregister(&c, m, MiB);
	vm_slot(&vm, 1, GiB, m, 0);
	munmap(m, MiB);
	return NULL;
}

/* TCEs with permissions behind LIOBN 0 in all vCPUs' models */
static long model_mapped(unsigned int nr)
{
	unsigned long i, sum = 1;
	unsigned int k;

	for (k = 0; k < nr; k++)
		for (i = 0; i < OWN; i++)
			sum += !!(vcpus[k].tce[0][i] & TCE_RW);
	return sum;
}

static int set_up(unsigned int nr)
{
	__u64 start;
	int ret;

	ret = vm_create(&vm, nr, RAM);
	if (ret)
		return ret;
	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret)
		return ret;
	ret = do_register(&c, vm.ram, RAM) ?: do_remove(&c, c.window) ?:
	      do_create(&c, 12, ENTRIES << 12, 1, &start);
	if (ret)
		return ret;
	table[0] = vm_create_table(&vm, liobn_of(0), 12, start, ENTRIES);
	table[1] = vm_create_table(&vm, liobn_of(1), 12, 0, ENTRIES);
	if (table[0] < 0 || table[1] < 0)
		return -ENOSPC;
	return vm_group_give(&vm, c.group, table[0]);
}

static void tear_down(void)
{
	unsigned int i;

	for (i = 0; i < LIOBNS; i++) {
		if (table[i] >= 0)
			close(table[i]);
		table[i] = -1;
	}
	/* Either of them may go first. */
	if (program % 4 < 2) {
		container_close(&c);
		vm_destroy(&vm);
	} else {
		vm_destroy(&vm);
		container_close(&c);
	}
}

static void same(const char *what, long before, long (*value)(void))
{
	long after = settle(value, before);

	if (after != before)
		tell(what, before, after);
}

static void run_program(void)
{
	long pinned = pages_pinned(), charge = locked(), regions = regions_known(), mapped;
	unsigned int nr = 1 + program % MAX_VCPUS, i;
	pthread_t host;
	int ret;

	disturbed = program & 1;
	ret = set_up(nr);
	if (ret)
		ksft_exit_fail_msg("set-up: %s\n", strerror(-ret));
	stop = false;
	for (i = 0; i < nr; i++) {
		memset(&vcpus[i], 0, sizeof(vcpus[i]));
		vcpus[i].v = &vm.vcpu[i];
		vcpus[i].nr = i;
		vcpus[i].state = ((__u64)seed << 32) + program * MAX_VCPUS + i;
	}
	if (disturbed && pthread_create(&host, NULL, disturb, NULL))
		ksft_exit_fail_msg("no thread\n");
	for (i = 0; i < nr; i++)
		if (pthread_create(&vcpus[i].thread, NULL, vcpu_thread, &vcpus[i]))
			ksft_exit_fail_msg("no thread\n");
	for (i = 0; i < nr; i++)
		pthread_join(vcpus[i].thread, NULL);
	stop = true;
	if (disturbed)
		pthread_join(host, NULL);
	mapped = region_mapped(vm.ram);
	if (!disturbed && !wrong && mapped != NO_VIEW && mapped != model_mapped(nr))
		tell("TCEs that lead into guest memory", model_mapped(nr), mapped);
	tear_down();
	same("pinned pages", pinned, pages_pinned);
	same("locked bytes", charge, locked);
	if (regions >= 0)
		same("regions", regions, regions_known);
	same("virtual machines", 0, vms_left);
}

int main(int argc, char **argv)
{
	unsigned int bad = 0;
	bool one = false;
	int o, ret;

	spapr_tce_init(&argc, argv);
	while ((o = getopt(argc, argv, "s:n:p:")) > 0) {
		switch (o) {
		case 's':
			seed = atoi(optarg);
			break;
		case 'n':
			calls_left = atol(optarg);
			break;
		case 'p':
			program = atoi(optarg);
			one = true;
			break;
		default:
			return KSFT_FAIL;
		}
	}
	ksft_print_header();
	ret = set_up(1);
	tear_down();
	if (ret == -ENODEV || ret == -EOPNOTSUPP)
		ksft_exit_skip("no KVM-HV or no version 2 container here\n");
	if (ret)
		ksft_exit_fail_msg("set-up: %s\n", strerror(-ret));

	ksft_set_plan(1);
	ksft_print_msg("seed %u\n", seed);
	do {
		wrong = false;
		run_program();
		bad += wrong;
		program++;
		if (!(program % 64))
			ksft_print_msg("%lu calls, %u programs\n", calls_made, program);
	} while (!one && calls_made < calls_left && bad < 3);
	ksft_print_msg("%lu calls, %u programs, %lu went up\n", calls_made, program, went_up);
	ksft_test_result(!bad && calls_made, "what the model says, and nothing left\n");
	ksft_finished();
}
