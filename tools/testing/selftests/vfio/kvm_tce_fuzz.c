// SPDX-License-Identifier: GPL-2.0
/*
 * Random TCE hypercalls of 1 to 4 vCPUs, while the host may attach, detach, register and close.
 * A model predicts the result of each call.
 *
 * A program is a new VM and container with two LIOBNs: one has the container's window as a
 * hardware table, the other has none. Each vCPU uses TCEs of its own in both, so the model
 * does not depend on the order of calls. In every other program another thread of the host
 * disturbs: it attaches and detaches, replaces the window, creates and closes a third LIOBN,
 * adds and removes a memory slot, registers and unregisters. Some calls use that LIOBN and that
 * memory. Then a call may also return to user space (which does nothing here), and its TCEs are
 * unknown until they are set again. A vCPU begins a batch of calls only after the other thread
 * has done a few things. What it did, and which calls met it, is counted: a run where one of
 * these never happened fails.
 *
 * Without such a thread, the region's count of TCEs that lead into it is the model's. After
 * each program the numbers of pinned pages, of locked pages and of regions are those before
 * it. Options: vfio_fuzz.h; a replayed program has each vCPU's calls, not their interleaving.
 */
#include <pthread.h>

#include "vfio_spapr_kvm.h"
#include "vfio_fuzz.h"

#define RAM		(32 * MiB)
#define GUEST_PAGES	((RAM - MAP_FROM) / 4096)
#define ENTRIES		16384UL
#define OWN		512UL		/* TCEs of a vCPU in each LIOBN that are used */
#define BATCH		64U		/* calls of a vCPU at a time */
#define BATCHES		6		/* of a program */
#define STEPS		3		/* of the thread that disturbs, for each batch at least */
#define LIOBNS		2		/* with hardware behind it, without */
#define UNKNOWN		(~0ULL)
#define EXTRA		0x90000000ULL	/* a LIOBN that comes and goes; its TCEs are not modelled */
#define EXTRA_ENTRIES	4096UL
#define BEYOND		GiB		/* guest memory that comes and goes: BEYOND_SIZE */
#define BEYOND_SIZE	MiB
#define ENOUGH		8U		/* disturbed programs that must have seen something */

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
static bool stop;
static unsigned long steps;	/* of the thread that disturbs */

/* What disturbed, and what came of it */
enum {
	DID_DETACH, DID_ATTACH, DID_CREATE, DID_CLOSE, DID_REGISTER, DID_UNREGISTER, DID_UNMAP,
	DID_SLOT, DID_WINDOW, DID_RENEW, WENT_UP_VIEW, WENT_UP_GONE, WENT_UP_BEYOND,
	MISSED_HARDWARE, SAWS
};

static const char * const saw_what[] = {
	"groups taken", "groups given", "LIOBNs made", "LIOBNs closed", "regions made",
	"regions gone", "entries cleared", "slots changed", "windows replaced",
	"RAM registered anew", "calls that went up", "calls to a LIOBN that was gone",
	"calls about memory that was gone", "programs with TCEs that no hardware has",
};

static unsigned long saw[SAWS], programs_disturbed;

#define draw(f, below)	draw_from(&(f)->state, below)

static void see(unsigned int what)
{
	__atomic_fetch_add(&saw[what], 1, __ATOMIC_RELAXED);
}

static __u64 liobn_of(unsigned int l)
{
	return 0x80000001ULL + l;
}

/* ---- calls and what they must answer ---- */

/* A TCE that is right, clears, or is misaligned */
static __u64 any_tce(struct fuzz_vcpu *f)
{
	__u64 gpa = MAP_FROM + draw(f, GUEST_PAGES) * 4096ULL;

	if (disturbed && !draw(f, 12))
		gpa = BEYOND + draw(f, BEYOND_SIZE / 4096) * 4096ULL;
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

/* To a LIOBN that may not be there. It has no hardware table, so only memory can be missing too. */
static void fuzz_extra(struct fuzz_vcpu *f, unsigned int at)
{
	__u64 ioba = draw(f, EXTRA_ENTRIES) << 12;

	if (draw(f, 2))
		hcall_set(&f->v->calls[at], H_PUT_TCE, EXTRA, ioba, MAP_FROM | TCE_RW, 0);
	else
		hcall_set(&f->v->calls[at], H_GET_TCE, EXTRA, ioba, 0, 0);
	expect(f, at, H_SUCCESS, UNKNOWN);
}

static void make_batch(struct fuzz_vcpu *f)
{
	unsigned int at, l, list = draw(f, BATCH);

	for (at = 0; at < BATCH; at++) {
		l = draw(f, LIOBNS);
		if (disturbed && !draw(f, 16))
			fuzz_extra(f, at);
		else if (at == list)
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

	if (call->arg[0] == EXTRA) {
		see(WENT_UP_GONE);
		return;
	}
	for (i = 0; i < OWN; i++)
		f->tce[l][i] = UNKNOWN;
	see(WENT_UP_VIEW);
	if (call->nr == H_PUT_TCE && call->arg[2] >= BEYOND)
		see(WENT_UP_BEYOND);
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
			void_of[l] |= call->arg[0] != EXTRA;
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
	unsigned long step = 0;
	unsigned int i;

	for (i = 0; i < BATCHES && !wrong; i++) {
		make_batch(f);
		while (disturbed && __atomic_load_n(&steps, __ATOMIC_ACQUIRE) - step < STEPS)
			sched_yield();
		step = __atomic_load_n(&steps, __ATOMIC_ACQUIRE);
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

static struct {
	char *memory;		/* at BEYOND in the guest, while its slot is there */
	int extra;		/* LIOBN EXTRA */
	__u64 start;		/* of the window */
} host;

/* The window goes with hypercalls under way to it, and another one takes its place. */
static void replace_window(void)
{
	do_remove(&c, host.start);
	vm_group_del(&vm, c.group);
	if (!do_create(&c, 12, ENTRIES << 12, 1, &host.start) &&
	    !vm_group_give(&vm, c.group, table[0]))
		see(DID_WINDOW);
}

/*
 * RAM is registered anew: where TCEs led there, they are cleared. The group is taken first, or
 * the next hypercall might set one in between, which keeps the old region.
 */
static void renew_ram(void)
{
	vm_group_del(&vm, c.group);
	do_unregister(&c, vm.ram, RAM);
	if (!do_register(&c, vm.ram, RAM) && !vm_group_give(&vm, c.group, table[0]))
		see(DID_RENEW);
}

static void disturb_once(__u64 *state)
{
	__u64 n;

	switch (draw_from(state, 14)) {
	case 0:
		if (!vm_group_del(&vm, c.group))
			see(DID_DETACH);
		break;
	case 1:
	case 2:
		if (!vm_group_give(&vm, c.group, table[0]))
			see(DID_ATTACH);
		break;
	case 3:
	case 4:
		if (host.extra >= 0)
			break;
		host.extra = vm_create_table(&vm, EXTRA, 12, 0, EXTRA_ENTRIES);
		if (host.extra >= 0)
			see(DID_CREATE);
		break;
	case 5:
		if (host.extra < 0)
			break;
		close(host.extra);
		host.extra = -1;
		see(DID_CLOSE);
		break;
	case 6:
	case 7:
		if (!do_register(&c, host.memory, BEYOND_SIZE))
			see(DID_REGISTER);
		break;
	case 8:
		if (!do_unregister(&c, host.memory, BEYOND_SIZE))
			see(DID_UNREGISTER);
		break;
	case 9:
		n = 4096 * (1 + draw_from(state, 64));
		if (!do_unmap_at(&c, host.start + ioba_of(&vcpus[0], draw_from(state, OWN)), &n, 0))
			see(DID_UNMAP);
		break;
	case 10:
	case 11:	/* memory slots come and go */
		if (!vm_slot(&vm, 1, BEYOND, host.memory, draw_from(state, 3) ? BEYOND_SIZE : 0))
			see(DID_SLOT);
		break;
	case 12:
		replace_window();
		break;
	case 13:
		renew_ram();
		break;
	}
}

/* Everything that may happen in the host while a guest makes hypercalls */
static void *disturb(void *arg)
{
	__u64 state = ((__u64)seed << 32) + program + 0x5eed;

	(void)arg;
	host.memory = anonymous(BEYOND_SIZE);
	host.extra = -1;
	memset(host.memory, 1, BEYOND_SIZE);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		disturb_once(&state);
		__atomic_fetch_add(&steps, 1, __ATOMIC_RELEASE);
		sched_yield();
	}
	if (host.extra >= 0)
		close(host.extra);
	return NULL;
}

/* A region's count if the TCEs behind LIOBN 0 that are known to lead into RAM are all there is */
static long model_mapped(unsigned int nr)
{
	unsigned long i, sum = 1;
	unsigned int k;
	__u64 tce;

	for (k = 0; k < nr; k++)
		for (i = 0; i < OWN; i++) {
			tce = vcpus[k].tce[0][i];
			sum += tce & TCE_RW && tce < BEYOND;
		}
	return sum;
}

static int set_up(unsigned int nr)
{
	int ret;

	ret = vm_create(&vm, nr, RAM);
	if (ret)
		return ret;
	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret)
		return ret;
	ret = do_register(&c, vm.ram, RAM) ?: do_remove(&c, c.window) ?:
	      do_create(&c, 12, ENTRIES << 12, 1, &host.start);
	if (ret)
		return ret;
	table[0] = vm_create_table(&vm, liobn_of(0), 12, host.start, ENTRIES);
	table[1] = vm_create_table(&vm, liobn_of(1), 12, 0, ENTRIES);
	if (table[0] < 0 || table[1] < 0)
		return -ENOSPC;
	return vm_group_give(&vm, c.group, table[0]);
}

static int try_set_up(void)
{
	return set_up(1);
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

static void run_program(void)
{
	unsigned int nr = 1 + program % MAX_VCPUS, i;
	pthread_t other;
	long mapped;
	int ret;

	disturbed = program & 1;
	ret = set_up(nr);
	if (ret)
		ksft_exit_fail_msg("set-up: %s\n", strerror(-ret));
	stop = false;
	steps = 0;
	for (i = 0; i < nr; i++) {
		memset(&vcpus[i], 0, sizeof(vcpus[i]));
		vcpus[i].v = &vm.vcpu[i];
		vcpus[i].nr = i;
		vcpus[i].state = ((__u64)seed << 32) + program * MAX_VCPUS + i;
	}
	if (disturbed && pthread_create(&other, NULL, disturb, NULL))
		ksft_exit_fail_msg("no thread\n");
	for (i = 0; i < nr; i++)
		if (pthread_create(&vcpus[i].thread, NULL, vcpu_thread, &vcpus[i]))
			ksft_exit_fail_msg("no thread\n");
	for (i = 0; i < nr; i++)
		pthread_join(vcpus[i].thread, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	if (disturbed) {
		pthread_join(other, NULL);
		programs_disturbed++;
	}
	mapped = region_mapped(vm.ram);
	if (disturbed && mapped < model_mapped(nr))
		see(MISSED_HARDWARE);
	if (!disturbed && !wrong && mapped != NO_VIEW && mapped != model_mapped(nr))
		tell("TCEs that lead into guest memory", model_mapped(nr), mapped);
	tear_down();
	if (disturbed)
		munmap(host.memory, BEYOND_SIZE);
	nothing_left();
	same("virtual machines", 0, vms_left);
}

/*
 * Was all that can disturb there while hypercalls ran? Too few programs don't tell. The seed and
 * STEPS see to it. That hardware misses TCEs at the end of a program depends on timing alone.
 */
static void check_seen(void)
{
	bool all = true;
	unsigned int i;

	for (i = 0; i < SAWS; i++) {
		ksft_print_msg("%lu %s\n", saw[i], saw_what[i]);
		all &= saw[i] > 0 || i == MISSED_HARDWARE;
	}
	if (programs_disturbed < ENOUGH)
		ksft_test_result_skip("%lu disturbed programs are too few to tell\n",
				      programs_disturbed);
	else
		ksft_test_result(all, "all that disturbs was seen\n");
}

int main(int argc, char **argv)
{
	bool one = fuzz_begin(argc, argv, 2, "no KVM-HV or no version 2 container here", try_set_up,
			      tear_down);

	fuzz_run(one, run_program);
	check_seen();
	ksft_finished();
}
