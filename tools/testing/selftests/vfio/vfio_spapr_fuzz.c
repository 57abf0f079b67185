// SPDX-License-Identifier: GPL-2.0
/*
 * Random programs of ioctls on a VFIO sPAPR TCE v2 container. A model predicts the result of
 * each call.
 *
 * A program is a new container and some hundred calls: registrations that fit, overlap or have
 * holes; maps and unmaps in and beyond both windows; windows created and removed; memory of a
 * region unmapped and mapped again; a second group that joins and leaves; children that use
 * the container of another process. The model has regions, windows and the target of each TCE.
 * An unmap returns how many TCEs were live, which compares the model with the table.
 *
 * After each program the numbers of pinned pages, of locked pages and of regions are those
 * before it. Options: vfio_fuzz.h.
 *
 * The model takes what the platform decides (windows of pSeries, whether a second group can
 * join) from the result. IOMMU pages are no larger than the kernel's pages: whether larger
 * ones fit depends on the memory's contiguity.
 */
#include "vfio_fuzz.h"

#define PAGES		64	/* of the memory that programs use */
#define KEPT		(PAGES - 1)	/* always registered: the container has an owner */
#define CALLS		300	/* of one program */
#define SECOND_START	(1ULL << 59)
#define MAX_ENTRIES	(1UL << 19)	/* of a window that is modelled */
#define FIRST		96UL	/* calls begin in that many TCEs at a window's start ... */
#define LAST		8UL	/* ... and at its end */
#define MOST		64UL	/* TCEs of a map */

struct window {
	bool there;
	__u64 start;
	__u64 size;
	unsigned int shift;
	unsigned int *leads;	/* page of each TCE + 1; 0: clear */
};

struct region {
	unsigned int first, n;	/* n 0: none */
	bool refused;		/* its unregistration was */
};

static struct container c;
static struct window window[2];
static struct region region[PAGES];
static bool present[PAGES];	/* false: unmapped by us */
static char *memory;
static unsigned long page_size;
static int second = -1;		/* the other group's fd while it is in the container */
static bool powernv;

static __u64 state;

static unsigned int draw(unsigned int below)
{
	return draw_from(&state, below);
}

/* ---- the model ---- */

static struct region *region_of(unsigned int page)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		if (region[i].n && page - region[i].first < region[i].n)
			return &region[i];
	return NULL;
}

/* Regions that a range overlaps, apart from those whose unregistration was refused */
static bool overlaps(unsigned int first, unsigned int n)
{
	struct region *r;
	unsigned int i;

	for (i = first; i < first + n; i++) {
		r = region_of(i);
		if (r && !r->refused)
			return true;
	}
	return false;
}

/* The next TCE that a program may have set: those between the first and the last stay clear. */
static unsigned long next(const struct window *w, unsigned long entry)
{
	unsigned long last = (w->size >> w->shift) - LAST;

	return ++entry == FIRST + MOST && entry < last ? last : entry;
}

static bool is_mapped(const struct region *r)
{
	unsigned long i;
	int w;

	for (w = 0; w < 2; w++)
		for (i = 0; window[w].there && i < window[w].size >> window[w].shift;
		     i = next(&window[w], i))
			if (window[w].leads[i] && window[w].leads[i] - 1 - r->first < r->n)
				return true;
	return false;
}

static void forget_entries(const struct region *r)
{
	unsigned long i;
	int w;

	for (w = 0; w < 2; w++)
		for (i = 0; window[w].there && i < window[w].size >> window[w].shift;
		     i = next(&window[w], i))
			if (window[w].leads[i] && window[w].leads[i] - 1 - r->first < r->n)
				window[w].leads[i] = 0;
}

static void window_begin(struct window *w, __u64 start, __u64 size, unsigned int shift)
{
	w->there = true;
	w->start = start;
	w->size = size;
	w->shift = shift;
	w->leads = calloc(size >> shift, sizeof(*w->leads));
	if (!w->leads)
		ksft_exit_fail_msg("no memory\n");
}

static void window_end(struct window *w)
{
	free(w->leads);
	w->leads = NULL;
	w->there = false;
}

/* ---- calls ---- */

/*
 * A range was registered that overlaps refused ones. These end first, and what led to their pages
 * is clear. With another region in the way some of them may have ended before that one was met:
 * unregistering tells.
 */
static void end_refused(unsigned int first, unsigned int n, bool all)
{
	struct region *r;
	unsigned int i;
	long ret;

	for (i = first; i < first + n; i++) {
		r = region_of(i);
		if (!r || !r->refused)
			continue;
		ret = all ? -ENOENT :
		      do_unregister(&c, memory + r->first * page_size, r->n * page_size);
		if (ret == -ENOENT)
			forget_entries(r);
		else
			must("unregister a refused one", is_mapped(r) ? -EBUSY : 0, ret);
		if (ret != -EBUSY)
			r->n = 0;
	}
}

static void do_one_register(void)
{
	unsigned int first = draw(KEPT), n = draw(12) ? 1 + draw(8) : 0, i;
	unsigned long off = draw(16) ? 0 : 4096 * draw(16);
	bool hole = false, others;
	struct region *r;
	long wanted = 0, ret;

	if (first + n > KEPT)
		n = KEPT - first;
	r = region_of(first);
	/* Often exactly one that is there */
	if (r && !draw(3)) {
		first = r->first;
		n = r->n;
	}
	others = overlaps(first, n);
	for (i = first; i < first + n; i++)
		hole |= !present[i];
	if (!n || off % page_size)
		wanted = -EINVAL;
	else if (others)
		wanted = r && r->first == first && r->n == n ? -EBUSY : -EINVAL;
	else if (hole)
		wanted = -EFAULT;
	say("register pages %u + %u offset %lu", first, n, off);
	ret = do_register(&c, memory + first * page_size + off, n * page_size);
	must("register", wanted, ret);
	if (off % page_size || !n)
		return;
	end_refused(first, n, !others);
	if (!ret) {
		for (r = region; r->n; r++)
			;
		*r = (struct region){ .first = first, .n = n };
	}
}

static void do_one_unregister(void)
{
	unsigned int first = draw(KEPT), n = 1 + draw(8);
	struct region *r = region_of(first);
	long wanted, ret;

	if (r && draw(4)) {
		first = r->first;
		n = r->n;
	}
	if (first + n > KEPT)
		n = KEPT - first;
	r = region_of(first);
	if (!r || r->first != first || r->n != n)
		wanted = -ENOENT;
	else
		wanted = is_mapped(r) ? -EBUSY : 0;
	say("unregister pages %u + %u", first, n);
	ret = do_unregister(&c, memory + first * page_size, n * page_size);
	must("unregister", wanted, ret);
	if (wanted == -EBUSY)
		r->refused = true;
	if (!wanted)
		r->n = 0;
}

/* Few places, so that programs meet what they did; sometimes the window's end or beyond it */
static unsigned long any_entry(const struct window *w)
{
	unsigned long entries = w->size >> w->shift;

	if (!draw(8))
		return entries - 1 - draw(entries < LAST ? entries : LAST);
	return draw(entries < FIRST ? entries : FIRST);
}

static unsigned long live(const struct window *w, unsigned long entry, unsigned long n)
{
	unsigned long i, sum = 0;

	for (i = entry; i < entry + n; i = next(w, i))
		sum += !!w->leads[i];
	return sum;
}

static void clear(struct window *w, unsigned long entry, unsigned long n)
{
	unsigned long i;

	for (i = entry; i < entry + n; i = next(w, i))
		w->leads[i] = 0;
}

static void do_one_map(void)
{
	struct window *w = &window[draw(2)];
	unsigned long entry, n, size, i, known, before, at;
	__u32 flags = draw(20) ? 1 + draw(3) : 0;
	__u64 iova, bad;
	long ret;

	if (!w->there)
		return;
	size = 1UL << w->shift;
	entry = any_entry(w);
	n = 1 + draw(draw(4) ? 4 : MOST);
	at = draw(PAGES) * page_size + (size < page_size ? draw(page_size / size) * size : 0);
	if (at + n * size > PAGES * page_size)
		n = (PAGES * page_size - at) / size;
	iova = w->start + entry * size;
	bad = draw(32) ? 0 : size / 2;	/* not aligned */
	for (known = 0; known < n && region_of((at + known * size) / page_size); known++)
		;
	say("map window %d entry %lu + %lu to %#lx flags %u off %llu", (int)(w - window), entry,
	    n, at, flags, (unsigned long long)bad);
	ret = do_map_at(&c, iova + bad, memory + at, n * size, flags);
	if (!flags || bad || entry + n > w->size >> w->shift) {
		must("map, bad arguments", -EINVAL, ret);
	} else if (known == n) {
		must("map", 0, ret);
		for (i = 0; i < n; i++)
			w->leads[entry + i] = (at + i * size) / page_size + 1;
	} else {
		/* What the entries before the bad one are now is only known within bounds. */
		must("map of what is not registered", -EFAULT, ret);
		before = live(w, entry, n);
		known = live(w, entry + known, n - known);
		ret = do_unmap_bytes(&c, iova, n * size);
		if (ret < (long)(known * size) || ret > (long)(before * size))
			tell("unmap after a map that failed", before * size, ret);
		clear(w, entry, n);
	}
}

static void do_one_unmap(void)
{
	struct window *w = &window[draw(2)];
	unsigned long entry, n, entries;
	long ret;

	if (!w->there) {
		say("unmap where no window is");
		must("unmap without a window", -ENXIO,
		     do_unmap_bytes(&c, SECOND_START * 3, 65536));
		return;
	}
	entries = w->size >> w->shift;
	entry = any_entry(w);
	n = draw(8) ? 1 + draw(32) : entries;
	if (n == entries && draw(2))
		entry = 0;
	say("unmap window %d entry %lu + %lu", (int)(w - window), entry, n);
	ret = do_unmap_bytes(&c, w->start + ((__u64)entry << w->shift), n << w->shift);
	if (entry + n > entries) {
		must("unmap beyond the window", -EINVAL, ret);
		return;
	}
	must("unmap", live(w, entry, n) << w->shift, ret);
	clear(w, entry, n);
}

static void do_one_create(void)
{
	unsigned int shift = draw(2) ? 12 : 16, levels = 1 + draw(2), i;
	__u64 size = 1ULL << (shift + draw(12)), start = 0;
	long wanted, ret;

	if (1UL << shift > page_size || !(c.pgsizes & (1UL << shift)))
		shift = 12;
	wanted = window[0].there && window[1].there ? -ENOSPC : 0;
	say("create shift %u size %#llx levels %u", shift, (unsigned long long)size, levels);
	ret = do_create(&c, shift, size, levels, &start);
	if (powernv || wanted)
		must("create", wanted, ret);
	if (ret)
		return;
	i = start != window[0].start;
	if (powernv)
		must("create: where", window[0].there ? SECOND_START : 0, start);
	if (window[i].there)
		tell("create: a window that is there", 0, start);
	else
		window_begin(&window[i], start, size, shift);
}

static void do_one_remove(void)
{
	struct window *w = &window[draw(2)];
	long ret;

	say("remove window %d", (int)(w - window));
	ret = do_remove(&c, w->there ? w->start : SECOND_START + 65536);
	must("remove", w->there ? 0 : -EINVAL, ret);
	if (w->there && !ret)
		window_end(w);
}

/* Memory goes or comes under a region, as a DIMM does: the region keeps what it pinned. */
static void do_one_memory(void)
{
	unsigned int page = draw(KEPT);
	char *at = memory + page * page_size;

	say("%s page %u", present[page] ? "take away" : "bring back", page);
	if (present[page])
		munmap(at, page_size);
	else if (mmap(at, page_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
		ksft_exit_fail_msg("no memory\n");
	present[page] = !present[page];
}

static void do_one_group(void)
{
	if (nr_groups < 2)
		return;
	if (second >= 0) {
		say("the second group leaves");
		close(second);
		second = -1;
		return;
	}
	say("a second group");
	second = group_join(&c, 1);
	if (powernv && second < 0)
		tell("a second group", 0, second);
}

static void do_one_child(void)
{
	pid_t pid;
	int status;

	say("a child unmaps");
	pid = fork();
	if (!pid)
		_exit(do_unmap(&c, 0, IOMMU_PAGE) == -EPERM ? 0 : 1);
	if (pid < 0)
		return;
	waitpid(pid, &status, 0);
	must("a child's unmap is refused", 0, status);
}

static void (* const ops[])(void) = {
	do_one_register, do_one_register, do_one_unregister, do_one_unregister,
	do_one_map, do_one_map, do_one_map, do_one_map, do_one_map, do_one_map,
	do_one_unmap, do_one_unmap, do_one_unmap, do_one_unmap,
};

/* A child costs as much as all calls of its program: fork() copies what is pinned. */
static void (* const rare_ops[])(void) = {
	do_one_create, do_one_create, do_one_create, do_one_create, do_one_remove, do_one_remove,
	do_one_memory, do_one_memory, do_one_memory, do_one_memory, do_one_group, do_one_group,
	do_one_child,
};

/* ---- programs ---- */

static bool begin(void)
{
	unsigned int i;

	if (container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU))
		return false;
	memset(region, 0, sizeof(region));
	for (i = 0; i < PAGES; i++)
		present[i] = true;
	if (do_register(&c, memory + KEPT * page_size, page_size))
		return false;
	region[0] = (struct region){ .first = KEPT, .n = 1 };
	window_begin(&window[0], c.window, c.window_size, 12);
	return true;
}

static void end(void)
{
	unsigned int i;

	if (second >= 0)
		close(second);
	second = -1;
	container_close(&c);
	for (i = 0; i < 2; i++)
		window_end(&window[i]);
	for (i = 0; i < PAGES; i++)
		if (!present[i])
			mmap(memory + i * page_size, page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static int try_begin(void)
{
	int ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);

	return ret ?: c.window_size >> 12 > MAX_ENTRIES ? -EOPNOTSUPP : 0;
}

static void try_end(void)
{
	container_close(&c);
}

static void run_program(void)
{
	unsigned int i;

	state = ((__u64)seed << 32) + program;
	if (!begin())
		ksft_exit_fail_msg("seed %u program %u: no container\n", seed, program);
	for (i = 0; i < CALLS && !wrong; i++) {
		if (draw(8))
			ops[draw(ARRAY_SIZE(ops))]();
		else
			rare_ops[draw(ARRAY_SIZE(rare_ops))]();
		calls_made++;
	}
	end();
	nothing_left();
}

int main(int argc, char **argv)
{
	bool one = fuzz_begin(argc, argv, 1,
			      "no version 2 container, or too large a default window", try_begin,
			      try_end);

	page_size = sysconf(_SC_PAGESIZE);
	powernv = !access("/proc/device-tree/ibm,opal", F_OK);
	memory = fuzz_memory(PAGES * page_size);
	fuzz_run(one, run_program);
	ksft_finished();
}
