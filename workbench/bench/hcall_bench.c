// SPDX-License-Identifier: GPL-2.0
/*
 * What TCE hypercalls cost a KVM-HV guest, by the guest of vfio_spapr_kvm.h: 'name value'
 * lines, instructions from the one before "sc 1" to the one after (of -icount: 1 ns = 1
 * instruction, and the guest's time base tells ns), the median of many.
 *
 *	hcall_bench
 *
 * ref.real: one that real mode ends at once, where there is a real mode. ref.virtual: one
 * that virtual mode ends at once. ref.user: one that goes to user space and comes back.
 * The others per call, INDIRECT and STUFF per TCE, of 512 or of one; vfio: a device behind
 * the LIOBN, emulated: none; scattered: no page of the list follows the one before.
 */
#include "../../tools/testing/selftests/vfio/vfio_spapr_kvm.h"
#include "mark.h"

#define RAM		(64 * MiB)
#define ENTRIES		16384UL
#define SAMPLES		101	/* single calls */
#define LISTS		21	/* of 512 */
#define LIOBN_VFIO	0x80000001UL
#define LIOBN_EMULATED	0x80000002UL

static struct vm vm;
static double ns_per_tick;
static unsigned long run_first;	/* the plugin's number of the first call of the last run() */

static void die(const char *what, int err)
{
	fprintf(stderr, "hcall_bench: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void find_timebase(void)
{
	char line[200];
	FILE *f = fopen("/proc/cpuinfo", "r");
	double hz = 512e6;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "timebase : %lf", &hz) == 1)
			break;
	if (f)
		fclose(f);
	ns_per_tick = 1e9 / hz;
}

static int by_ticks(const void *a, const void *b)
{
	const struct hcall *x = a, *y = b;

	return (x->ticks > y->ticks) - (x->ticks < y->ticks);
}

/* Calls [@first, @first + @n) of the vcpu have been made; what they return is @expected. */
static void report(const char *name, unsigned int first, unsigned int n, long expected, int per)
{
	struct hcall *c = vm.vcpu[0].calls + first;
	unsigned int i;

	for (i = 0; i < n; i++)
		if (c[i].ret != expected) {
			fprintf(stderr, "hcall_bench: %s: %ld\n", name, (long)c[i].ret);
			exit(1);
		}
	qsort(c, n, sizeof(*c), by_ticks);
	printf("%s %.2f\n", name, c[n / 2].ticks * ns_per_tick / per);
}

/* The same calls for the plugin: @at is the first in the last run(), @step from one to the next. */
static void report_kinds(const char *name, unsigned int at, unsigned int step, unsigned int n,
			 int per)
{
	mark_row(name, run_first + at, step, n, per);
}

static void run(unsigned int n)
{
	int ret = vcpu_run(&vm.vcpu[0], n);

	/* The guest's code has a pair of marks around each call. */
	run_first = mark_samples;
	mark_samples += n;
	if (ret)
		die("KVM_RUN", ret);
}

/* @n times the same call */
static void bench_one(const char *name, unsigned int n, long expected, int per, __u64 nr,
		      __u64 a0, __u64 a1, __u64 a2, __u64 a3)
{
	unsigned int i;

	/* twice: the first time, caches and what is made on demand */
	hcall_set(&vm.vcpu[0].calls[0], nr, a0, a1, a2, a3);
	run(1);
	for (i = 0; i < n; i++)
		hcall_set(&vm.vcpu[0].calls[i], nr, a0, a1, a2, a3);
	run(n);
	report(name, 0, n, expected, per);
	report_kinds(name, 0, 1, n, per);
}

static void named(char *out, const char *what, const char *kind)
{
	snprintf(out, 40, "%s.%s", what, kind);
}

/* A page of guest memory for TCE @i */
static __u64 page(unsigned int i)
{
	return MAP_FROM + i * 4096UL;
}

/* Another, of which none follows the one before: what a guest's scatter list looks like */
static __u64 scattered_page(unsigned int i)
{
	return page(i * 37 % 1024 * 2);
}

/* Lists of @n: all clear before each, and all live before each clearing; @rounds times */
static void bench_lists(__u64 liobn, const char *kind, __u64 (*page_of)(unsigned int i),
			unsigned int n, unsigned int rounds)
{
	struct vcpu *v = &vm.vcpu[0];
	struct hcall *c = v->calls;
	char name[40], what[20];
	unsigned int i;

	for (i = 0; i < n; i++)
		v->list[i] = htobe64(page_of(i) | TCE_RW);
	for (i = 0; i < rounds; i++) {
		hcall_set(&c[2 * i], H_PUT_TCE_INDIRECT, liobn, 0, v->list_gpa, n);
		hcall_set(&c[2 * i + 1], H_STUFF_TCE, liobn, 0, 0, n);
	}
	run(2 * rounds);
	for (i = 0; i < rounds; i++) {
		c[MAX_CALLS / 2 + i] = c[2 * i + 1];
		c[i] = c[2 * i];
	}
	snprintf(what, sizeof(what), "indirect%u", n);
	named(name, what, kind);
	report(name, 0, rounds, H_SUCCESS, n);
	report_kinds(name, 0, 2, rounds, n);
	snprintf(what, sizeof(what), "stuff%u", n);
	named(name, what, kind);
	report(name, MAX_CALLS / 2, rounds, H_SUCCESS, n);
	report_kinds(name, 1, 2, rounds, n);
}

static void bench_table(__u64 liobn, const char *kind)
{
	struct vcpu *v = &vm.vcpu[0];
	struct hcall *c = v->calls;
	unsigned int i;
	char name[40];

	/* Make what is made on demand */
	for (i = 0; i < TCES_PER_LIST; i++)
		v->list[i] = htobe64(page(i) | TCE_RW);
	hcall_set(&c[0], H_PUT_TCE_INDIRECT, liobn, 0, v->list_gpa, TCES_PER_LIST);
	hcall_set(&c[1], H_STUFF_TCE, liobn, 0, 0, TCES_PER_LIST);
	run(2);

	/* Map, replace, clear: the same TCEs in turn */
	for (i = 0; i < SAMPLES; i++) {
		hcall_set(&c[i], H_PUT_TCE, liobn, i << 12, page(i) | TCE_RW, 0);
		hcall_set(&c[SAMPLES + i], H_PUT_TCE, liobn, i << 12, page(i + 1) | TCE_RW, 0);
		hcall_set(&c[2 * SAMPLES + i], H_GET_TCE, liobn, i << 12, 0, 0);
		hcall_set(&c[3 * SAMPLES + i], H_PUT_TCE, liobn, i << 12, 0, 0);
	}
	run(4 * SAMPLES);
	named(name, "put.map", kind);
	report(name, 0, SAMPLES, H_SUCCESS, 1);
	report_kinds(name, 0, 1, SAMPLES, 1);
	named(name, "put.replace", kind);
	report(name, SAMPLES, SAMPLES, H_SUCCESS, 1);
	report_kinds(name, SAMPLES, 1, SAMPLES, 1);
	named(name, "get", kind);
	report(name, 2 * SAMPLES, SAMPLES, H_SUCCESS, 1);
	report_kinds(name, 2 * SAMPLES, 1, SAMPLES, 1);
	named(name, "put.clear", kind);
	report(name, 3 * SAMPLES, SAMPLES, H_SUCCESS, 1);
	report_kinds(name, 3 * SAMPLES, 1, SAMPLES, 1);

	bench_lists(liobn, kind, page, 1, SAMPLES);
	bench_lists(liobn, kind, page, TCES_PER_LIST, LISTS);
	snprintf(name, sizeof(name), "scattered.%s", kind);
	bench_lists(liobn, name, scattered_page, TCES_PER_LIST, LISTS);
}

int main(void)
{
	int ret, table, emulated, none = 0;
	struct container c;
	__u64 start;

	setlinebuf(stdout);
	find_timebase();
	ret = vm_create(&vm, 1, RAM);
	if (ret)
		die("a virtual machine", ret);
	find_groups(&none, NULL);
	if (!nr_groups)
		die("an IOMMU group in /dev/vfio", -ENOENT);
	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret)
		die("sPAPR TCE v2 container", ret);
	ret = do_register(&c, vm.ram, RAM) ?: do_remove(&c, c.window) ?:
	      do_create(&c, 12, ENTRIES << 12, 1, &start);
	if (ret)
		die("window", ret);
	table = vm_create_table(&vm, LIOBN_VFIO, 12, start, ENTRIES);
	emulated = vm_create_table(&vm, LIOBN_EMULATED, 12, 0, ENTRIES);
	if (table < 0 || emulated < 0)
		die("table", table < 0 ? table : emulated);
	ret = vm_group_give(&vm, c.group, table);
	if (ret)
		die("attach", ret);

	if (host_is_power8())
		bench_one("ref.real", SAMPLES, H_PARAMETER, 1, H_READ, 0, -1UL, 0, 0);
	bench_one("ref.virtual", SAMPLES, H_PARAMETER, 1, H_PROD, -1UL, 0, 0, 0);
	bench_one("ref.user", SAMPLES, WENT_UP, 1, NR_UP, 0, 0, 0, 0);
	bench_table(LIOBN_VFIO, "vfio");
	bench_table(LIOBN_EMULATED, "emulated");
	return 0;
}
