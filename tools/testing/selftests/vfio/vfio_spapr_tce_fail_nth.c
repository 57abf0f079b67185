// SPDX-License-Identifier: GPL-2.0
/*
 * Fail each allocation in turn, of the ioctls of VFIO sPAPR TCE containers, of KVM's ioctls
 * that attach their tables to a guest, and of iommufd's ioctls on a vfio cdev.
 *
 *	vfio_spapr_tce_fail_nth [GROUP]
 *
 * A case is a chain of calls that succeed. For each call, its first allocation fails, then
 * its second, and so on until no allocation is left; the rest of the chain has no failures.
 * A call that failed returns an error and has charged nothing. Repeated, it succeeds. At the
 * end of the chain no page is pinned, no memory is locked, and no region is left. Splats
 * are not detected here: run it with panic_on_warn=1.
 *
 * Needs a kernel with CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC and
 * CONFIG_FAULT_INJECTION_DEBUG_FS.
 */
#include <sys/stat.h>

#include "vfio_spapr_kvm.h"
#include "vfio_iommufd.h"

#define REGION		(4 * MiB)
#define MOST		2000	/* allocations of one call; more is an endless loop */
#define FAULTS		"/sys/kernel/debug/"
#define LEVELS		2
#define WINDOW		(64 * GiB)
#define LIOBN		0x80000001UL

static struct vm vm;

struct chain {
	struct container c;
	int second;
	int table;	/* of the guest */
	char *m, *other;
	__u64 start;
	int iommufd, device;
	__u32 dev, ioas, source, hwpt;
};

#define IOMMUFD		0	/* in place of a container's type */

struct call {
	const char *name;
	int (*make)(struct chain *x);
	bool charges;	/* for good: fails without having done so */
	bool looks;	/* at what the calls before it have done: nothing is made to fail */
};

/*
 * Attaching in steps, as container_open() does, but so that a step that failed can be
 * made again.
 */
static int open_fds(struct chain *x, int type)
{
	x->c = NO_CONTAINER;
	x->table = -1;
	x->second = -1;
	x->iommufd = -1;
	x->device = -1;
	if (type == IOMMUFD) {
		x->iommufd = iommufd_open();
		x->device = cdev_open(0);
		return x->iommufd < 0 || x->device < 0 ? -ENODEV : 0;
	}
	x->c.type = type;
	x->c.fd = open("/dev/vfio/vfio", O_RDWR);
	x->c.group = group_open(0);
	/* In an LPAR a window belongs to one group. */
	x->second = is_pseries() ? -1 : group_open(1);
	return x->c.fd < 0 || x->c.group < 0 ? -ENODEV : 0;
}

static int attach(struct chain *x)
{
	return result(ioctl(x->c.group, VFIO_GROUP_SET_CONTAINER, &x->c.fd));
}

static int set_iommu(struct chain *x)
{
	return result(ioctl(x->c.fd, VFIO_SET_IOMMU, x->c.type));
}

static int get_info(struct chain *x)
{
	struct vfio_iommu_spapr_tce_info info = { .argsz = sizeof(info) };
	int ret = do_get_info(x->c.fd, &info);

	x->c.window = info.dma32_window_start;
	return ret;
}

static int enable(struct chain *x)
{
	return do_enable(&x->c);
}

static int disable(struct chain *x)
{
	return do_disable(&x->c);
}

static int reg(struct chain *x)
{
	return do_register(&x->c, x->m, REGION);
}

static int reg_other(struct chain *x)
{
	return do_register(&x->c, x->other, REGION);
}

static int unreg(struct chain *x)
{
	return do_unregister(&x->c, x->m, REGION);
}

static int unreg_other(struct chain *x)
{
	return do_unregister(&x->c, x->other, REGION);
}

/*
 * The first use makes the default window. That stays if the mapping then fails, as in an LPAR
 * for lack of memory for a leaf of the view.
 */
static int map(struct chain *x)
{
	return do_map(&x->c, 0, x->m, REGION);
}

static int map_over(struct chain *x)
{
	return do_map(&x->c, MiB, x->other, REGION);
}

static int unmap(struct chain *x)
{
	return do_unmap(&x->c, 0, 16 * MiB);
}

static int create(struct chain *x)
{
	return do_create(&x->c, 16, WINDOW, LEVELS, &x->start);
}

/* A leaf that is missing, two of them, one that is there */
static int map_leaf(struct chain *x)
{
	return do_map_at(&x->c, x->start, x->m, REGION, RW);
}

static int map_two_leaves(struct chain *x)
{
	return do_map_at(&x->c, x->start + WINDOW / 2 - MiB, x->m, 2 * MiB, RW);
}

static int map_over_leaves(struct chain *x)
{
	return do_map_at(&x->c, x->start + WINDOW / 2 - 2 * MiB, x->other, REGION, RW);
}

static int unmap_window(struct chain *x)
{
	__u64 size = WINDOW;

	return do_unmap_at(&x->c, x->start, &size, 0);
}

static int remove_window(struct chain *x)
{
	return do_remove(&x->c, x->start);
}

static int attach_second(struct chain *x)
{
	return x->second < 0 ? 0 : result(ioctl(x->second, VFIO_GROUP_SET_CONTAINER, &x->c.fd));
}

static int detach_second(struct chain *x)
{
	return x->second < 0 ? 0 : result(ioctl(x->second, VFIO_GROUP_UNSET_CONTAINER));
}

static int create_table(struct chain *x)
{
	x->table = vm_create_table(&vm, LIOBN, 12, 0, 1024);
	return x->table < 0 ? x->table : 0;
}

static int add(struct chain *x)
{
	return vm_group_add(&vm, x->c.group);
}

static int add_second(struct chain *x)
{
	return x->second < 0 ? 0 : vm_group_add(&vm, x->second);
}

static int set_table(struct chain *x)
{
	return vm_group_attach(&vm, x->c.group, x->table);
}

static int del(struct chain *x)
{
	return vm_group_del(&vm, x->c.group);
}

static int del_second(struct chain *x)
{
	return x->second < 0 ? 0 : vm_group_del(&vm, x->second);
}

/* A guest's TCE: does it get to the device? It is cleared again. */
static int put_reaches(struct chain *x, bool device)
{
	struct vcpu *v = &vm.vcpu[0];
	long mapped;

	if (vcpu_hcall(v, H_PUT_TCE, LIOBN, 0, MAP_FROM | TCE_RW, 0) != H_SUCCESS)
		return -EIO;
	mapped = region_mapped(x->m);
	if (mapped != NO_VIEW && mapped != 1 + device)
		return -ENOLINK;
	return vcpu_hcall(v, H_PUT_TCE, LIOBN, 0, 0, 0) == H_SUCCESS ? 0 : -EIO;
}

static int put_reaches_device(struct chain *x)
{
	return put_reaches(x, true);
}

static int put_reaches_second(struct chain *x)
{
	return put_reaches(x, x->second >= 0);
}

static int put_reaches_none(struct chain *x)
{
	return put_reaches(x, false);
}

static int bind(struct chain *x)
{
	return do_bind(x->device, x->iommufd, &x->dev);
}

static int ioas(struct chain *x)
{
	return do_ioas(x->iommufd, &x->ioas);
}

static int ioas_source(struct chain *x)
{
	return do_ioas(x->iommufd, &x->source);
}

static int ioas_map(struct chain *x)
{
	return do_ioas_map(x->iommufd, x->ioas, GiB, x->m, REGION, MAP_RW);
}

static int ioas_map_source(struct chain *x)
{
	return do_ioas_map(x->iommufd, x->source, 0, x->other, REGION, MAP_RW);
}

/* A domain, which gets what is mapped already */
static int attach_pt(struct chain *x)
{
	return do_attach(x->device, x->ioas);
}

/* Into leaves that are missing */
static int ioas_map_leaves(struct chain *x)
{
	return do_ioas_map(x->iommufd, x->ioas, 8 * TiB - MiB, x->m, REGION, MAP_RW);
}

static int ioas_copy(struct chain *x)
{
	return do_ioas_copy(x->iommufd, x->ioas, 4 * TiB, x->source, 0, REGION);
}

static int hwpt(struct chain *x)
{
	return do_hwpt(x->iommufd, x->dev, x->ioas, 0, &x->hwpt);
}

static int replace(struct chain *x)
{
	return do_attach(x->device, x->hwpt);
}

static int detach_pt(struct chain *x)
{
	return do_detach(x->device);
}

static int ioas_unmap(struct chain *x)
{
	return do_ioas_unmap(x->iommufd, x->ioas, 8 * TiB - MiB, REGION);
}

static const struct call v1[] = {
	{ "attach", attach, false, false },
	{ "set_iommu", set_iommu, false, false },
	{ "get_info", get_info, false, false },
	{ "enable", enable, true, false },
	{ "map", map, true, false },
	{ "map_over", map_over, false, false },
	{ "unmap", unmap, false, false },
	{ "disable", disable, false, false },
	{ NULL, NULL, false, false },
};

static const struct call v2[] = {
	{ "attach", attach, false, false },
	{ "set_iommu", set_iommu, false, false },
	{ "get_info", get_info, false, false },
	{ "register", reg, true, false },
	{ "register_other", reg_other, true, false },
	{ "map", map, true, false },
	{ "map_over", map_over, false, false },
	{ "create", create, true, false },
	{ "map_leaf", map_leaf, false, false },
	{ "map_two_leaves", map_two_leaves, false, false },
	{ "map_over_leaves", map_over_leaves, false, false },
	{ "attach_second", attach_second, false, false },
	{ "map_again", map_over, false, false },
	{ "unmap_window", unmap_window, false, false },
	{ "remove", remove_window, false, false },
	{ "detach_second", detach_second, false, false },
	{ "unmap", unmap, false, false },
	{ "unregister", unreg, false, false },
	{ "unregister_other", unreg_other, false, false },
	{ NULL, NULL, false, false },
};

/* As QEMU does it: both groups are the VM's, the table is set for the first one only. */
static const struct call kvm[] = {
	{ "attach", attach, false, false },
	{ "set_iommu", set_iommu, false, false },
	{ "get_info", get_info, false, false },
	{ "attach_second", attach_second, false, false },
	{ "register", reg, true, false },
	{ "map", map, true, false },
	{ "unmap", unmap, false, false },
	{ "create_table", create_table, false, false },
	{ "add", add, false, false },
	{ "add_second", add_second, false, false },
	{ "set_table", set_table, false, false },
	{ "put", put_reaches_device, false, true },
	{ "del", del, false, false },
	{ "put_second", put_reaches_second, false, true },
	{ "del_second", del_second, false, false },
	{ "put_none", put_reaches_none, false, true },
	{ "unregister", unreg, false, false },
	{ NULL, NULL, false, false },
};

static const struct call iommufd[] = {
	{ "bind", bind, false, false },
	{ "ioas", ioas, false, false },
	{ "ioas_source", ioas_source, false, false },
	{ "map", ioas_map, false, false },
	{ "map_source", ioas_map_source, false, false },
	{ "attach", attach_pt, false, false },
	{ "map_leaves", ioas_map_leaves, false, false },
	{ "copy", ioas_copy, false, false },
	{ "hwpt", hwpt, false, false },
	{ "replace", replace, false, false },
	{ "unmap", ioas_unmap, false, false },
	{ "detach", detach_pt, false, false },
	{ NULL, NULL, false, false },
};

static bool set_knob(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Any allocation may fail, quietly; which one is decided by fail-nth. */
static bool set_up_faults(void)
{
	return set_knob(FAULTS "failslab/ignore-gfp-wait", "N") &&
	       set_knob(FAULTS "fail_page_alloc/ignore-gfp-wait", "N") &&
	       set_knob(FAULTS "fail_page_alloc/ignore-gfp-highmem", "N") &&
	       set_knob(FAULTS "fail_page_alloc/min-order", "0") &&
	       set_knob(FAULTS "failslab/verbose", "0") &&
	       set_knob(FAULTS "fail_page_alloc/verbose", "0");
}

static int nth_fd = -1;

/* Makes the @nth allocation from here on fail. */
static void arm(unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth);

	if (pwrite(nth_fd, text, n, 0) != n)
		ksft_exit_fail_msg("fail-nth: %s\n", strerror(errno));
}

/* Whether that happened. Reading and writing allocate too, hence the retries. */
static bool disarm(void)
{
	char text[16] = "";
	bool hit = false;

	if (pread(nth_fd, text, sizeof(text) - 1, 0) <= 0)
		hit = true;
	else if (atoi(text) == 0)
		hit = true;
	while (pwrite(nth_fd, "0", 1, 0) != 1)
		;
	return hit;
}

/*
 * The chain, with the @nth allocation of call @victim failing. 1: it did; 0: there are
 * not so many; -1: something is wrong.
 */
static int sweep(const struct call *calls, int type, int victim, unsigned int nth, char *m)
{
	long pinned = pages_pinned(), charge = locked(), regions = regions_known(), before;
	struct chain x = { .m = m, .other = m + REGION };
	int i, ret, hit = 0;

	if (open_fds(&x, type))
		return -1;
	for (i = 0; calls[i].make; i++) {
		before = locked();
		if (i != victim) {
			ret = calls[i].make(&x);
		} else {
			arm(nth);
			ret = calls[i].make(&x);
			hit = disarm();
			if (ret > 0) {
				ksft_print_msg("%s, allocation %u: answers %d\n", calls[i].name,
					       nth, ret);
				hit = -1;
			}
			if (ret && calls[i].charges && locked() != before &&
			    !(calls[i].make == map && is_pseries())) {
				ksft_print_msg("%s, allocation %u: %ld bytes left charged\n",
					       calls[i].name, nth, locked() - before);
				hit = -1;
			}
			if (ret)
				ret = calls[i].make(&x);
		}
		if (ret) {
			if (victim >= 0)
				ksft_print_msg("%s, allocation %u of %s: %s\n", calls[i].name, nth,
					       calls[victim].name, strerror(-ret));
			else
				ksft_print_msg("%s: %s\n", calls[i].name, strerror(-ret));
			hit = -1;
			break;
		}
	}
	if (x.table >= 0) {
		/* Gone already, if nothing was wrong */
		del(&x);
		del_second(&x);
		close(x.table);
	}
	close(x.second);
	container_close(&x.c);
	close(x.device);
	close(x.iommufd);
	if (settle(pages_pinned, pinned) != pinned || settle(locked, charge) != charge ||
	    (regions >= 0 && settle(regions_known, regions) != regions)) {
		ksft_print_msg("%s, allocation %u: pages %ld, locked %ld, regions %ld left\n",
			       victim < 0 ? "none" : calls[victim].name, nth,
			       pages_pinned() - pinned, locked() - charge,
			       regions_known() - regions);
		hit = -1;
	}
	return hit;
}

/* What iommufd's calls lack; NULL: nothing */
static const char *no_iommufd(void)
{
	int iommufd = iommufd_open(), device = cdev_open(0);

	close(device);
	close(iommufd);
	if (iommufd < 0)
		return "no iommufd";
	if (device < 0)
		return "no NVMe with a vfio cdev";
	return is_pseries() ? "no paging domains" : NULL;
}

static void run(const char *name, const struct call *calls, int type, char *m)
{
	const char *without = "no such container";
	struct container c;
	unsigned int n;
	int i, hit;
	bool bad;

	if (type == IOMMUFD) {
		without = no_iommufd();
		hit = without ? -EOPNOTSUPP : 0;
	} else {
		hit = container_open(&c, 0, type);
		if (!hit)
			container_close(&c);
	}
	bad = hit != -EOPNOTSUPP && sweep(calls, type, -1, 0, m) < 0;
	for (i = 0; calls[i].make; i++) {
		if (hit == -EOPNOTSUPP) {
			ksft_test_result_skip("%s.%s: %s here\n", name, calls[i].name, without);
			continue;
		}
		if (bad) {
			ksft_test_result_fail("%s.%s: without failures\n", name, calls[i].name);
			continue;
		}
		for (n = 1; n < MOST && !calls[i].looks; n++) {
			int ret = sweep(calls, type, i, n, m);

			if (ret <= 0) {
				ksft_print_msg("%s.%s: %u failed\n", name, calls[i].name, n - 1);
				ksft_test_result(!ret, "%s.%s\n", name, calls[i].name);
				break;
			}
		}
		if (calls[i].looks)
			ksft_test_result_pass("%s.%s\n", name, calls[i].name);
		else if (n == MOST)
			ksft_test_result_fail("%s.%s: no end\n", name, calls[i].name);
	}
}

int main(int argc, char **argv)
{
	char path[64], *m;
	int i;

	spapr_tce_init(&argc, argv);
	ksft_print_header();
	if (!set_up_faults())
		ksft_exit_skip("no fault injection in this kernel\n");
	snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", getpid());
	nth_fd = open(path, O_RDWR);
	if (nth_fd < 0)
		ksft_exit_skip("no %s\n", path);
	m = anonymous(2 * REGION);
	if (m == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	memset(m, 1, 2 * REGION);
	ksft_set_plan(ARRAY_SIZE(v1) + ARRAY_SIZE(v2) + ARRAY_SIZE(kvm) +
		      ARRAY_SIZE(iommufd) - 4);
	run("v1", v1, VFIO_SPAPR_TCE_IOMMU, m);
	run("v2", v2, VFIO_SPAPR_TCE_v2_IOMMU, m);
	if (vm_create(&vm, 1, MAP_FROM + 2 * REGION)) {
		for (i = 0; kvm[i].make; i++)
			ksft_test_result_skip("kvm.%s: no KVM-HV here\n", kvm[i].name);
	} else {
		memset(vm.ram + MAP_FROM, 1, 2 * REGION);
		run("kvm", kvm, VFIO_SPAPR_TCE_v2_IOMMU, vm.ram + MAP_FROM);
	}
	vm_destroy(&vm);
	run("iommufd", iommufd, IOMMUFD, m);
	ksft_finished();
}
