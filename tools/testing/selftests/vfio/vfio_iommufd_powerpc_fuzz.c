// SPDX-License-Identifier: GPL-2.0
/*
 * Random programs of iommufd ioctls on paging domains, beside a model of what is mapped.
 *
 * A program is a fresh iommufd context with two IOASes and the devices of one or two groups, which
 * are attached, moved from one IOAS to the other and detached, while memory is mapped, copied
 * from IOAS to IOAS and unmapped, near 0 and in other leaves of the table. The model holds
 * what each IOAS maps. Pages are pinned while a device can reach them, once for all IOASes that
 * share them, so the number of pinned pages compares the model with the kernel at any time. A
 * domain is asked where its TCEs lead when pages are unpinned or shared: if it is wrong, too many
 * or too few stay pinned.
 *
 * After each program as many pages are pinned as before it. Options: vfio_fuzz.h.
 */
#include "vfio_fuzz.h"
#include "vfio_iommufd.h"

#define PAGES		64U	/* of the memory that programs use */
#define SOURCES		48U	/* maps at a time: each has pins of its own */
#define AREAS		64U	/* places at a time where a source, or a part of it, is mapped */
#define MOST		8U	/* pages of a map */
#define SLOTS		96U	/* pages of IOVA near each of the places below */
#define CALLS		200
#define DEVICES		2

/* Where things are mapped: leaves of their own, and across a border between two */
static const __u64 places[] = { 0, 1ULL << 32, (1ULL << 49) - 40 * 65536, 3ULL << 40 };

struct source {
	bool used;
	unsigned int n;
	bool writable;
};

struct area {
	bool used;
	unsigned int ioas, source, first, n;	/* pages of the source */
	__u64 iova;
};

static struct source sources[SOURCES];
static struct area areas[AREAS];
static int iommufd = -1, device[DEVICES], in[DEVICES];	/* @in: IOAS, -1 */
static unsigned int nr_devices;
static __u32 ioas[2];
static char *memory;
static unsigned long page_size;
static __u64 state;

static unsigned int draw(unsigned int below)
{
	return draw_from(&state, below);
}

/* ---- the model ---- */

static bool meets(const struct area *a, unsigned int which, __u64 iova, unsigned long size)
{
	return a->used && a->ioas == which && a->iova < iova + size &&
	       iova < a->iova + a->n * page_size;
}

static struct area *area_at(unsigned int which, __u64 iova, unsigned long size)
{
	struct area *a, *first = NULL;

	for (a = areas; a < areas + AREAS; a++)
		if (meets(a, which, iova, size) && (!first || a->iova < first->iova))
			first = a;
	return first;
}

static struct area *area_new(void)
{
	struct area *a;

	for (a = areas; a < areas + AREAS; a++)
		if (!a->used)
			return a;
	return NULL;
}

/* A source goes with the last area that shows some of it. */
static void area_end(struct area *a)
{
	struct area *other;

	a->used = false;
	for (other = areas; other < areas + AREAS; other++)
		if (other->used && other->source == a->source)
			return;
	sources[a->source].used = false;
}

static bool attached(unsigned int which)
{
	unsigned int d;

	for (d = 0; d < nr_devices; d++)
		if (in[d] == (int)which)
			return true;
	return false;
}

static long model_pinned(void)
{
	unsigned int s, i;
	long sum = 0;
	struct area *a;
	bool reached;

	for (s = 0; s < SOURCES; s++) {
		for (i = 0; sources[s].used && i < sources[s].n; i++) {
			reached = false;
			for (a = areas; a < areas + AREAS; a++)
				reached |= a->used && a->source == s && attached(a->ioas) &&
					   i - a->first < a->n;
			sum += reached;
		}
	}
	return sum;
}

/* ---- calls ---- */

static __u64 any_iova(void)
{
	return places[draw(ARRAY_SIZE(places))] + draw(SLOTS) * page_size;
}

static void do_one_map(void)
{
	unsigned int which = draw(2), n = 1 + draw(MOST), s, at = draw(PAGES - MOST);
	__u64 iova = any_iova();
	struct area *a = area_new();
	__u32 flags = draw(4) ? MAP_RW : IOMMU_IOAS_MAP_READABLE;
	bool there = area_at(which, iova, n * page_size);

	for (s = 0; s < SOURCES && sources[s].used; s++)
		;
	if (!a || s == SOURCES)
		return;
	say("map ioas %u iova %#llx pages %u + %u", which, (unsigned long long)iova, at, n);
	must("map", there ? -EEXIST : 0,
	     do_ioas_map(iommufd, ioas[which], iova, memory + at * page_size, n * page_size,
			 flags));
	if (there)
		return;
	sources[s] = (struct source){ true, n, flags & IOMMU_IOAS_MAP_WRITEABLE };
	*a = (struct area){ true, which, s, 0, n, iova };
}

/* An area, or a part of it, in the other IOAS or in its own */
static void do_one_copy(void)
{
	struct area *from = &areas[draw(AREAS)], *a = area_new();
	unsigned int to = draw(2), first, n;
	__u64 iova = any_iova();
	long wanted;
	bool there;

	if (!a || !from->used)
		return;
	first = draw(from->n);
	n = 1 + draw(from->n - first);
	there = area_at(to, iova, n * page_size);
	wanted = there ? -EEXIST : 0;
	say("copy ioas %u iova %#llx + %u pages to ioas %u iova %#llx", from->ioas,
	    (unsigned long long)from->iova + first * page_size, n, to, (unsigned long long)iova);
	if (!there && !sources[from->source].writable)
		wanted = -EPERM;	/* copies are writable */
	must("copy", wanted,
	     do_ioas_copy(iommufd, ioas[to], iova, ioas[from->ioas],
			  from->iova + first * page_size, n * page_size));
	if (!wanted)
		*a = (struct area){ true, to, from->source, from->first + first, n, iova };
}

/* Areas go whole, in the order of their addresses, up to one that is only met in part. */
static void do_one_unmap(void)
{
	struct area *a = &areas[draw(AREAS)];
	unsigned int which = draw(2);
	unsigned long size = page_size * (1 + draw(16));
	__u64 iova = any_iova(), end;
	long wanted = 0, ret;

	if (a->used && draw(4)) {
		which = a->ioas;
		iova = a->iova;
		size = a->n * page_size;
	}
	end = iova + size;
	say("unmap ioas %u iova %#llx size %#lx", which, (unsigned long long)iova, size);
	if (!area_at(which, iova, size)) {
		ret = do_ioas_unmap(iommufd, ioas[which], iova, size);
		if (ret != -ENOENT)	/* kernels differ */
			must("unmap of nothing", 0, ret);
		return;
	}
	while ((a = area_at(which, iova, end - iova))) {
		if (a->iova < iova || a->iova + a->n * page_size > end) {
			wanted = -ENOENT;
			break;
		}
		area_end(a);
	}
	must("unmap", wanted, do_ioas_unmap(iommufd, ioas[which], iova, size));
}

static void do_one_attach(void)
{
	unsigned int d = draw(nr_devices), which = draw(2);

	say("device %u to ioas %u", d, which);
	must("attach", 0, do_attach(device[d], ioas[which]));
	in[d] = which;
}

static void do_one_detach(void)
{
	unsigned int d = draw(nr_devices);

	if (in[d] < 0)
		return;
	say("device %u detached", d);
	must("detach", 0, do_detach(device[d]));
	in[d] = -1;
}

static void do_one_child(void)
{
	int status = 0;
	pid_t pid;

	say("a child goes");
	pid = fork();
	if (!pid)
		_exit(0);
	if (pid > 0)
		waitpid(pid, &status, 0);
	must("the child's end", 0, status);
}

static void (* const ops[])(void) = {
	do_one_map, do_one_map, do_one_map, do_one_map, do_one_copy, do_one_copy,
	do_one_unmap, do_one_unmap, do_one_unmap, do_one_unmap, do_one_attach, do_one_detach,
};

/* ---- programs ---- */

static int begin(void)
{
	unsigned int d;
	__u32 id;
	int ret;

	memset(sources, 0, sizeof(sources));
	memset(areas, 0, sizeof(areas));
	nr_devices = 0;
	iommufd = iommufd_open();
	if (iommufd < 0)
		return iommufd;
	ret = do_ioas(iommufd, &ioas[0]) ?: do_ioas(iommufd, &ioas[1]);
	for (d = 0; !ret && d < DEVICES && (int)d < nr_groups; d++) {
		device[d] = cdev_open(d);
		if (device[d] < 0)
			return d ? 0 : device[d];
		in[d] = -1;
		nr_devices++;
		ret = do_bind(device[d], iommufd, &id);
	}
	return ret;
}

/* Devices first or the context first: either ends all. */
static void end(void)
{
	unsigned int d;

	if (iommufd >= 0 && program & 1)
		close(iommufd);
	for (d = 0; d < nr_devices; d++)
		close(device[d]);
	if (iommufd >= 0 && !(program & 1))
		close(iommufd);
	iommufd = -1;
}

static long pinned_more(void)
{
	return pages_pinned() - at_first.pinned;
}

static void run_program(void)
{
	unsigned int i;
	int ret;

	state = ((__u64)seed << 32) + program;
	ret = begin();
	if (ret)
		ksft_exit_fail_msg("program %u: %s\n", program, strerror(-ret));
	for (i = 0; i < CALLS && !wrong; i++) {
		if (draw(64))
			ops[draw(ARRAY_SIZE(ops))]();
		else
			do_one_child();
		calls_made++;
		if (!draw(16))
			must("pinned pages", model_pinned(), settle(pinned_more, model_pinned()));
	}
	end();
	nothing_left();
}

int main(int argc, char **argv)
{
	bool one = fuzz_begin(argc, argv, 1, "no iommufd, no cdev or no NVMe in a group", begin,
			      end);

	page_size = sysconf(_SC_PAGESIZE);
	memory = fuzz_memory(PAGES * page_size);
	fuzz_run(one, run_program);
	ksft_finished();
}
