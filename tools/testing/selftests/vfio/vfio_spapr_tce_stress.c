// SPDX-License-Identifier: GPL-2.0
/*
 * Concurrent ioctls of all kinds on one VFIO sPAPR TCE container, after which nothing may be
 * pinned, charged or registered.
 *
 *	vfio_spapr_tce_stress [-s SEED] [-t SECONDS] [-r ROUNDS] [-n THREADS] [GROUP]
 *
 * Each case runs in rounds: THREADS threads make ioctls of random kind and arguments on a new
 * container, which is closed when they are done or - every other round - during their calls.
 * Forked children share its fd. The seed is printed; with the same seed each thread makes the
 * same calls, though not at the same time. SECONDS limits all cases together, ROUNDS each case.
 *
 * The last case resets the device by EEH operations, which take the locks of devices and
 * wait for firmware, while the administrator unbinds and removes it and the group and the
 * container are closed. A watchdog checks that all of that ends.
 *
 * Each call returns 0 or one of the errors that its ioctl may return. After each round the
 * numbers of pinned pages, of locked pages and of regions are those before it.
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "vfio_spapr_tce.h"

#define NR_REGIONS	8
#define REGION		MiB
#define MAX_THREADS	64
#define MOST_BAD	5	/* rounds before a case ends */
#define MOST_ROUNDS	50	/* beyond its time, as long as some operation never succeeded */
#define SECOND_START	(1ULL << 59)

enum op { MAP, UNMAP, CREATE, REMOVE, REGISTER, UNREGISTER, ATTACH, DETACH, ENABLE, DISABLE,
	  GET_INFO, FORK, NR_OPS };

static const char * const op_name[NR_OPS] = {
	"map", "unmap", "create", "remove", "register", "unregister", "attach", "detach",
	"enable", "disable", "get_info", "fork",
};

struct stress {
	struct container c;
	int second;		/* another group, or -1 */
	char *m;
	unsigned int round;
	bool stop;
	unsigned long done[NR_OPS], failed[NR_OPS];
	long wrong;		/* an answer that no ioctl may give */
	enum op wrong_op;
};

struct worker {
	pthread_t thread;
	struct stress *s;
	__u64 seed;
};

static unsigned int seed = 1, seconds = 20, max_rounds = ~0U, nr_threads = 4;
static long deadline;

static unsigned int draw(struct worker *w, unsigned int below)
{
	w->seed = w->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (w->seed >> 33) % below;
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static __u64 any_iova(struct worker *w)
{
	struct container *c = &w->s->c;

	/* Few places, so that threads meet, of either window; sometimes its end. */
	if (draw(w, 2))
		return SECOND_START + draw(w, 32) * 64 * KiB;
	if (!draw(w, 8))
		return c->window + c->window_size - IOMMU_PAGE * draw(w, 4);
	return c->window + draw(w, 128) * IOMMU_PAGE;
}

/* Everything a child may find out about a container that is not its own */
static int child(struct stress *s)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		int ret = do_unmap(&s->c, 0, IOMMU_PAGE);

		_exit(ret == -EPERM || ret == -EBADF || ret == -ENODEV || ret == -EINVAL ||
		      ret == -ENOTTY ? 0 : 1);
	}
	if (pid < 0)
		return -errno;
	waitpid(pid, &status, 0);
	return status ? 1 : 0;
}

static int one(struct worker *w, enum op op)
{
	struct vfio_iommu_spapr_tce_info info = { .argsz = sizeof(info) };
	struct stress *s = w->s;
	char *m = s->m + draw(w, NR_REGIONS) * REGION;
	unsigned long size;
	__u64 n, iova;

	switch (op) {
	case MAP:
		iova = any_iova(w);
		size = iova >= SECOND_START ? 64 * KiB : IOMMU_PAGE;
		return do_map_at(&s->c, iova, m + draw(w, 8) * 64 * KiB, size * (1 + draw(w, 8)),
				 1 + draw(w, 3));
	case UNMAP:
		iova = any_iova(w);
		n = (1 + draw(w, 32)) * 64 * KiB;
		return do_unmap_at(&s->c, iova, &n, 0);
	case CREATE:
		return do_create(&s->c, draw(w, 4) ? 16 : 12, MiB << draw(w, 8), 1 + draw(w, 2),
				 NULL);
	case REMOVE:
		return do_remove(&s->c, draw(w, 4) ? SECOND_START : s->c.window);
	case REGISTER:
		return do_register(&s->c, m, draw(w, 8) ? REGION : 2 * REGION);
	case UNREGISTER:
		return do_unregister(&s->c, m, REGION);
	case ATTACH:
		return s->second < 0 ? -ENODEV :
			result(ioctl(s->second, VFIO_GROUP_SET_CONTAINER, &s->c.fd));
	case DETACH:
		return s->second < 0 ? -ENODEV :
			result(ioctl(s->second, VFIO_GROUP_UNSET_CONTAINER));
	case ENABLE:
		return do_enable(&s->c);
	case DISABLE:
		return do_disable(&s->c);
	case GET_INFO:
		return do_get_info(s->c.fd, &info);
	case FORK:
		return child(s);
	default:
		return 0;
	}
}

static bool may_answer(int ret)
{
	switch (ret) {
	case 0:
	case -EINVAL:
	case -ENXIO:
	case -EBUSY:
	case -ENOENT:
	case -ENOMEM:
	case -ENOSPC:
	case -ENODEV:
	case -EPERM:
	case -EFAULT:
	case -ENOTTY:
	case -EBADF:	/* closed under its feet */
	case -EAGAIN:	/* fork */
		return true;
	}
	return false;
}

/* How often each is done, out of the sum */
static const unsigned int mix[2][NR_OPS] = {
	{ [MAP] = 40, [UNMAP] = 30, [ENABLE] = 6, [DISABLE] = 2, [GET_INFO] = 2, [FORK] = 1,
	  [REGISTER] = 1, [CREATE] = 1 },
	{ [MAP] = 40, [UNMAP] = 25, [CREATE] = 8, [REMOVE] = 4, [REGISTER] = 10,
	  [UNREGISTER] = 8, [ATTACH] = 3, [DETACH] = 3, [GET_INFO] = 2, [FORK] = 1 },
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct stress *s = w->s;
	const unsigned int *m = mix[s->c.type == VFIO_SPAPR_TCE_v2_IOMMU];
	unsigned int sum = 0, x, i;
	int ret;

	for (i = 0; i < NR_OPS; i++)
		sum += m[i];
	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		for (i = 0, x = draw(w, sum); x >= m[i]; i++)
			x -= m[i];
		ret = one(w, i);
		__atomic_fetch_add(ret ? &s->failed[i] : &s->done[i], 1, __ATOMIC_RELAXED);
		if (!may_answer(ret)) {
			s->wrong = ret;
			s->wrong_op = i;
		}
	}
	return NULL;
}

static int same(const char *what, long before, long (*value)(void))
{
	long after = settle(value, before);

	if (after == before)
		return 0;
	ksft_print_msg("%s: %ld before, %ld after\n", what, before, after);
	return KSFT_FAIL;
}

/* KSFT_PASS, KSFT_FAIL, KSFT_SKIP */
static int round_of(struct stress *s, int type, bool second, unsigned int ms)
{
	long pinned = pages_pinned(), charge = locked(), regions = regions_known();
	static struct worker workers[MAX_THREADS];
	unsigned int i;
	int ret;

	ret = container_open(&s->c, 0, type);
	if (ret == -EOPNOTSUPP)
		return KSFT_SKIP;
	if (ret) {
		ksft_print_msg("container: %s\n", strerror(-ret));
		return KSFT_FAIL;
	}
	s->second = second ? group_open(1) : -1;
	s->stop = false;
	/* The first of these decides whose container it is: not a child's. */
	if (type == VFIO_SPAPR_TCE_IOMMU)
		do_enable(&s->c);
	else
		do_register(&s->c, s->m, REGION);
	for (i = 0; i < nr_threads; i++) {
		workers[i].s = s;
		workers[i].seed = ((__u64)seed << 32) + s->round * MAX_THREADS + i;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) {
			ksft_print_msg("no thread\n");
			nr_threads = i;
		}
	}
	usleep(ms * 1000);
	if (s->round % 2)
		container_close(&s->c);
	__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < nr_threads; i++)
		pthread_join(workers[i].thread, NULL);
	if (s->second >= 0)
		close(s->second);
	container_close(&s->c);
	s->round++;
	ret = same("pinned pages", pinned, pages_pinned);
	ret |= same("locked bytes", charge, locked);
	if (regions >= 0)
		ret |= same("regions", regions, regions_known);
	if (s->wrong) {
		ksft_print_msg("%s answered %ld\n", op_name[s->wrong_op], s->wrong);
		ret = KSFT_FAIL;
	}
	s->wrong = 0;
	return ret;
}

/* How many operations should have succeeded and never did: what never succeeds was not tested. */
static unsigned int missing(struct stress *s, int type, bool tell)
{
	enum op used = type == VFIO_SPAPR_TCE_IOMMU ? UNMAP : UNREGISTER;
	unsigned int i, n = 0;

	for (i = 0; i <= used; i++)
		if (mix[type == VFIO_SPAPR_TCE_v2_IOMMU][i] > 1 && !s->done[i]) {
			if (tell)
				ksft_print_msg("no %s in all that time\n", op_name[i]);
			n++;
		}
	return n;
}

static void run(const char *name, int type, bool second, long end)
{
	struct stress s = { .m = anonymous((NR_REGIONS + 1) * REGION) };
	unsigned int i;
	int ret, bad = 0;

	if (second && nr_groups < 2) {
		ksft_test_result_skip("%s: needs a second group\n", name);
		return;
	}
	if (s.m == MAP_FAILED) {
		ksft_test_result_fail("%s: no memory\n", name);
		return;
	}
	memset(s.m, 1, (NR_REGIONS + 1) * REGION);
	do {
		ret = round_of(&s, type, second, 200);
		if (ret == KSFT_SKIP) {
			ksft_test_result_skip("%s: no such container here\n", name);
			return;
		}
		bad += !!ret;
		/* A slow machine, or one that began late, does little in its time. */
	} while (bad < MOST_BAD && s.round < max_rounds &&
		 (s.round < 2 || now_ms() < end ||
		  (s.round < MOST_ROUNDS && missing(&s, type, false))));
	ksft_print_msg("%s: %u rounds, %d bad\n", name, s.round, bad);
	for (i = 0; i < NR_OPS; i++)
		if (s.done[i] + s.failed[i])
			ksft_print_msg("  %-10s %8lu done %8lu refused\n", op_name[i], s.done[i],
				       s.failed[i]);
	bad += missing(&s, type, true);
	ksft_test_result(!bad, "%s\n", name);
	munmap(s.m, (NR_REGIONS + 1) * REGION);
}

/* ---- EEH operations against all that takes the group away ---- */

/* One that has the device's lock, one that waits for it, both with whatever else they hold */
#define NR_EEH_THREADS	2
#define EEH_STUCK_MS	40000	/* without any progress: more than the slowest reset takes */

enum eeh_event { UNBIND, EEH_REMOVE, REPLACE, OVERRIDE, CLOSE, UNSET, NR_EVENTS };

static const char * const event_name[NR_EVENTS] = {
	"unbind", "remove", "remove and rescan", "driver_override", "close", "unset_container",
};

/* Shared with the child: a thread that is stuck in the kernel can't tell. */
struct eeh {
	char bdf[32];
	struct container c;
	bool stop;
	unsigned long ops[VFIO_EEH_PE_CONFIGURE + 1], refused, others;
	unsigned long events[NR_EVENTS];
	int event;		/* under way, or -1 */
	int wrong;
	char why[80];
};

static int eeh_op(struct container *c, unsigned int op)
{
	struct vfio_eeh_pe_op o = { .argsz = sizeof(o), .op = op };
	int ret = ioctl(c->fd, VFIO_EEH_PE_OP, &o);

	return ret < 0 ? -errno : ret;
}

static void *eeh_thread(void *arg)
{
	static const unsigned int op[] = {
		VFIO_EEH_PE_RESET_HOT, VFIO_EEH_PE_RESET_DEACTIVATE, VFIO_EEH_PE_GET_STATE,
		VFIO_EEH_PE_ENABLE, VFIO_EEH_PE_UNFREEZE_IO, VFIO_EEH_PE_CONFIGURE,
	};
	struct eeh *e = arg;
	unsigned int i;
	int ret;

	for (i = 0; !__atomic_load_n(&e->stop, __ATOMIC_RELAXED); i = (i + 1) % ARRAY_SIZE(op)) {
		ret = eeh_op(&e->c, op[i]);
		__atomic_fetch_add(ret < 0 ? &e->refused : &e->ops[op[i]], 1, __ATOMIC_RELAXED);
		/* What is left half way through a reset is of no use to anybody. */
		if (op[i] == VFIO_EEH_PE_RESET_HOT && ret < 0)
			i++;
	}
	return NULL;
}

/* Other calls meanwhile: they are not held up for good, either. */
static void *eeh_others(void *arg)
{
	struct vfio_iommu_spapr_tce_info info = { .argsz = sizeof(info) };
	char *m = anonymous(REGION);
	struct eeh *e = arg;

	while (!__atomic_load_n(&e->stop, __ATOMIC_RELAXED)) {
		do_register(&e->c, m, REGION);
		do_map(&e->c, 0, m, IOMMU_PAGE);
		do_unmap(&e->c, 0, IOMMU_PAGE);
		do_unregister(&e->c, m, REGION);
		do_get_info(e->c.fd, &info);
		eeh_op(&e->c, VFIO_EEH_PE_GET_STATE);
		__atomic_fetch_add(&e->others, 1, __ATOMIC_RELAXED);
	}
	munmap(m, REGION);
	return NULL;
}

/* Write to a file of sysfs; @name may contain one %s for the device's address. */
static int sysfs(struct eeh *e, const char *name, const char *text)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), name, e->bdf);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static int eeh_bind(struct eeh *e)
{
	sysfs(e, "/sys/bus/pci/devices/%s/driver/unbind", e->bdf);
	return sysfs(e, "/sys/bus/pci/devices/%s/driver_override", "vfio-pci") ?:
	       sysfs(e, "/sys/bus/pci/drivers/vfio-pci/bind", e->bdf);
}

/* The group may have got another number. */
static int eeh_group(struct eeh *e)
{
	char path[128], link[128];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", e->bdf);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -errno;
	link[n] = 0;
	groups[0] = atoi(strrchr(link, '/') + 1);
	return 0;
}

static bool eeh_device_there(struct eeh *e)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", e->bdf);
	return !access(path, F_OK);
}

/*
 * Find the device again: while it is in reset that is in vain. In an event resets go on, and after
 * it the last one may end seconds later. eeh_watch() has more patience, but can't tell what for.
 */
static int eeh_rescan(struct eeh *e)
{
	long end = now_ms() + (e->event >= 0 ? 1000 : EEH_STUCK_MS / 2);
	int ret = 0;

	while (!ret && !eeh_device_there(e) && now_ms() < end) {
		ret = sysfs(e, "/sys/bus/pci/rescan", "1");
		usleep(10000);
	}
	return ret;
}

/* Can the device be enabled? What a driver of the host's has bound is. */
static int eeh_enable(struct eeh *e)
{
	int ret = sysfs(e, "/sys/bus/pci/devices/%s/enable", "1");

	if (ret)
		return ret == -EBUSY ? 0 : ret;
	return sysfs(e, "/sys/bus/pci/devices/%s/enable", "0");
}

static int eeh_event(struct eeh *e, enum eeh_event event)
{
	int ret = 0, i;

	switch (event) {
	case UNBIND:
		ret = sysfs(e, "/sys/bus/pci/drivers/vfio-pci/unbind", e->bdf);
		break;
	case EEH_REMOVE:
		ret = sysfs(e, "/sys/bus/pci/devices/%s/remove", "1");
		break;
	case REPLACE:
		ret = sysfs(e, "/sys/bus/pci/devices/%s/remove", "1") ?: eeh_rescan(e);
		break;
	case OVERRIDE:
		for (i = 0; !ret && i < 20; i++)
			ret = sysfs(e, "/sys/bus/pci/devices/%s/driver_override",
				    i % 2 ? "vfio-pci" : "\n");
		break;
	case CLOSE:
		close(e->c.group);
		close(e->c.fd);
		e->c.group = -1;
		e->c.fd = -1;
		break;
	case UNSET:
		ret = result(ioctl(e->c.group, VFIO_GROUP_UNSET_CONTAINER));
		break;
	default:
		break;
	}
	return ret;
}

static unsigned long eeh_resets(struct eeh *e)
{
	return __atomic_load_n(&e->ops[VFIO_EEH_PE_RESET_HOT], __ATOMIC_RELAXED);
}

static int eeh_round(struct eeh *e, enum eeh_event event)
{
	unsigned long before = eeh_resets(e);
	pthread_t thread[NR_EEH_THREADS + 1];
	int ret, ms, i;

	ret = eeh_group(e) ?: container_open(&e->c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret) {
		snprintf(e->why, sizeof(e->why), "container: %s", strerror(-ret));
		return ret;
	}
	e->stop = false;
	for (i = 0; i <= NR_EEH_THREADS; i++)
		if (pthread_create(&thread[i], NULL, i ? eeh_thread : eeh_others, e))
			return -EAGAIN;
	/* Resets have been made: the next ones meet the event. */
	for (ms = 0; ms < EEH_STUCK_MS && eeh_resets(e) < before + NR_EEH_THREADS; ms++)
		usleep(1000);
	if (ms == EEH_STUCK_MS) {
		snprintf(e->why, sizeof(e->why), "no reset succeeds");
		return -ETIMEDOUT;
	}
	e->event = event;
	ret = eeh_event(e, event);
	e->event = -1;
	if (ret)
		snprintf(e->why, sizeof(e->why), "%s: %s", event_name[event], strerror(-ret));
	else
		e->events[event]++;
	__atomic_store_n(&e->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i <= NR_EEH_THREADS; i++)
		pthread_join(thread[i], NULL);
	container_close(&e->c);
	if (ret)
		return ret;
	if (event == EEH_REMOVE || event == REPLACE)
		ret = eeh_rescan(e);
	/* An operation may have had the device that was there before. The new one has a PE. */
	if (!ret && event == REPLACE)
		ret = eeh_enable(e);
	if (!ret && (event == UNBIND || event == EEH_REMOVE || event == REPLACE))
		ret = eeh_bind(e);
	if (ret)
		snprintf(e->why, sizeof(e->why), "after %s: %s", event_name[event],
			 strerror(-ret));
	return ret;
}

/* The device of the first group */
static int eeh_device(struct eeh *e)
{
	struct dirent *d;
	char path[80];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", groups[0]);
	dir = opendir(path);
	while (dir && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			snprintf(e->bdf, sizeof(e->bdf), "%.31s", d->d_name);
	if (dir)
		closedir(dir);
	return e->bdf[0] ? 0 : -ENODEV;
}

static unsigned long eeh_progress(struct eeh *e)
{
	unsigned long sum = e->refused;
	unsigned int i;

	for (i = 0; i <= VFIO_EEH_PE_CONFIGURE; i++)
		sum += __atomic_load_n(&e->ops[i], __ATOMIC_RELAXED);
	for (i = 0; i < NR_EVENTS; i++)
		sum += __atomic_load_n(&e->events[i], __ATOMIC_RELAXED);
	return sum;
}

/* 0, or that nothing gets on: a child in a deadlock can't be waited for. */
static int eeh_watch(struct eeh *e, pid_t pid)
{
	unsigned long was = 0, is;
	long since = now_ms();
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		is = eeh_progress(e);
		/* An event that waits for ever counts, whatever the operations do. */
		if (is != was && !(e->event >= 0 && now_ms() - since > EEH_STUCK_MS / 2)) {
			if (e->event < 0)
				since = now_ms();
			was = is;
		}
		if (now_ms() - since > EEH_STUCK_MS) {
			kill(pid, SIGKILL);
			return -EDEADLK;
		}
		usleep(20000);
	}
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

/* The user: a device open, and resets */
static void eeh_user(struct eeh *e)
{
	struct container c;
	int ret;

	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret || ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, e->bdf) < 0)
		_exit(1);
	for (;;) {
		if (eeh_op(&c, VFIO_EEH_PE_RESET_HOT) >= 0)
			__atomic_fetch_add(&e->ops[VFIO_EEH_PE_RESET_HOT], 1,
					   __ATOMIC_RELAXED);
		eeh_op(&c, VFIO_EEH_PE_RESET_DEACTIVATE);
	}
}

/* Wait for so many more resets. */
static int eeh_resets_go_on(struct eeh *e, unsigned int n)
{
	unsigned long want = eeh_resets(e) + n;
	int ms;

	for (ms = 0; ms < EEH_STUCK_MS; ms++, usleep(1000))
		if (eeh_resets(e) >= want)
			return 0;
	return -EDEADLK;
}

static int eeh_wait(pid_t pid)
{
	int ms;

	for (ms = 0; ms < EEH_STUCK_MS; ms++, usleep(1000))
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return 0;
	return -EDEADLK;
}

/*
 * The driver is unbound while the device is open: that holds the device's lock and waits for
 * the user, who is in resets. They go on, and when the user is killed, all of it ends.
 */
static int eeh_open_device(struct eeh *e)
{
	pid_t user, admin;
	int ret;

	ret = eeh_group(e);
	if (ret)
		return ret;
	user = fork();
	if (!user)
		eeh_user(e);
	ret = eeh_resets_go_on(e, 1);
	admin = ret ? -1 : fork();
	if (!admin)
		_exit(!!sysfs(e, "/sys/bus/pci/drivers/vfio-pci/unbind", e->bdf));
	if (ret)
		snprintf(e->why, sizeof(e->why), "no reset succeeds");
	else
		ret = eeh_resets_go_on(e, 2);
	if (ret == -EDEADLK && admin > 0)
		snprintf(e->why, sizeof(e->why), "no reset succeeds during unbind");
	kill(user, SIGKILL);
	if (eeh_wait(user) || (admin > 0 && eeh_wait(admin))) {
		snprintf(e->why, sizeof(e->why), "the user or unbind does not end");
		return -EDEADLK;
	}
	return ret ?: eeh_bind(e);
}

/* A user that resets, with the device open or not, and goes */
static int eeh_leave(struct eeh *e, bool open_device)
{
	struct container c;
	int status = 0, ret;
	pid_t pid;

	pid = fork();
	if (!pid) {
		ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
		if (!ret && open_device &&
		    ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, e->bdf) < 0)
			ret = -errno;
		if (!ret)
			ret = eeh_op(&c, VFIO_EEH_PE_RESET_HOT);
		_exit(ret < 0 ? -ret : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -EIO;
	if (WEXITSTATUS(status))
		snprintf(e->why, sizeof(e->why), "no reset, device %s",
			 open_device ? "open" : "closed");
	return -WEXITSTATUS(status);
}

/* The vendor, which can't be read in config space that is blocked */
static int eeh_vendor(struct eeh *e)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	struct container c;
	__u16 vendor = 0;
	int fd, ret;

	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret)
		return ret;
	fd = ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, e->bdf);
	if (fd < 0)
		ret = -errno;
	else if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info) ||
		 pread(fd, &vendor, sizeof(vendor), info.offset) != sizeof(vendor) ||
		 vendor == 0xffff)
		ret = -ENXIO;
	if (fd >= 0)
		close(fd);
	container_close(&c);
	return ret;
}

/* The next user gets a device that works, and so does the host. */
static void run_eeh_left(struct eeh *e)
{
	int ret = eeh_group(e), which;

	for (which = 0; !ret && which < 2; which++) {
		ret = eeh_leave(e, which);
		if (ret)
			break;
		/* With no device open the reset has ended with its call. */
		ret = eeh_vendor(e);
		if (ret)
			snprintf(e->why, sizeof(e->why), "device %s: can't be used any more",
				 which ? "open" : "closed");
		ret = ret ?: sysfs(e, "/sys/bus/pci/drivers/vfio-pci/unbind", e->bdf) ?:
		      eeh_enable(e) ?: eeh_bind(e);
	}
	if (ret)
		ksft_print_msg("%s: %s\n", e->why, strerror(-ret));
	ksft_test_result(!ret, "eeh_reset_left\n");
}

/* Unbinding waits for the user, and the user for nothing. */
static void run_eeh_open(struct eeh *e)
{
	unsigned long before = eeh_resets(e);
	int ret = eeh_open_device(e);

	if (ret)
		ksft_print_msg("%s: %s\n", e->why, strerror(-ret));
	ksft_print_msg("  %lu resets\n", eeh_resets(e) - before);
	ksft_test_result(!ret, "eeh_device_open\n");
}

static void run_eeh(long end)
{
	static const char name[] = "eeh_against_detach";
	struct eeh *e = mmap(NULL, sizeof(*e), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct container c;
	unsigned int i;
	pid_t pid;
	int ret;

	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (!ret && ioctl(c.fd, VFIO_CHECK_EXTENSION, VFIO_EEH) != 1)
		ret = -EOPNOTSUPP;
	if (!ret)
		ret = eeh_op(&c, VFIO_EEH_PE_GET_STATE) < 0 ? -EOPNOTSUPP : eeh_device(e);
	container_close(&c);
	if (ret || access("/sys/bus/pci/rescan", W_OK)) {
		ksft_test_result_skip("%s: no EEH here, or not ours to unbind\n", name);
		ksft_test_result_skip("eeh_reset_left: the same\n");
		ksft_test_result_skip("eeh_device_open: the same\n");
		return;
	}
	e->event = -1;
	pid = fork();
	if (!pid) {
		for (i = 0; !e->wrong && (i < NR_EVENTS || now_ms() < end); i++)
			e->wrong = eeh_round(e, i % NR_EVENTS);
		_exit(!!e->wrong);
	}
	ret = pid < 0 ? -errno : eeh_watch(e, pid);
	if (ret == -EDEADLK)
		ksft_print_msg("nothing gets on%s%s\n", e->event >= 0 ? ", in " : "",
			       e->event >= 0 ? event_name[e->event] : "");
	else if (ret)
		ksft_print_msg("%s\n", e->why);
	for (i = 0; i < NR_EVENTS; i++)
		ksft_print_msg("  %-18s %4lu\n", event_name[i], e->events[i]);
	ksft_print_msg("  %lu resets, %lu operations refused, %lu rounds of other calls\n",
		       e->ops[VFIO_EEH_PE_RESET_HOT], e->refused, e->others);
	ksft_test_result(!ret, "%s\n", name);
	e->why[0] = 0;
	run_eeh_left(e);
	run_eeh_open(e);
}

int main(int argc, char **argv)
{
	int o;

	spapr_tce_init(&argc, argv);
	while ((o = getopt(argc, argv, "s:t:r:n:")) > 0) {
		switch (o) {
		case 's':
			seed = atoi(optarg);
			break;
		case 't':
			seconds = atoi(optarg);
			break;
		case 'r':
			max_rounds = atoi(optarg);
			break;
		case 'n':
			nr_threads = atoi(optarg);
			break;
		default:
			return KSFT_FAIL;
		}
	}
	ksft_print_header();
	if (nr_threads > MAX_THREADS)
		nr_threads = MAX_THREADS;
	ksft_set_plan(6);
	ksft_print_msg("seed %u, %u threads, %u s\n", seed, nr_threads, seconds);
	deadline = now_ms();
	run("v1", VFIO_SPAPR_TCE_IOMMU, false, deadline + seconds * 1000L / 4);
	run("v2", VFIO_SPAPR_TCE_v2_IOMMU, false, deadline + seconds * 2000L / 4);
	run("v2_two_groups", VFIO_SPAPR_TCE_v2_IOMMU, true, deadline + seconds * 3000L / 4);
	/* The last ones: the device may have got another group. */
	run_eeh(deadline + seconds * 1000L);
	ksft_finished();
}
