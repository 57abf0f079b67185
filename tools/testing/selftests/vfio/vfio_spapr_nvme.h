/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A minimal NVMe driver in user space, through VFIO: it moves a device page (4K) from or to a
 * bus address and reports whether that succeeded. Polled, one command at a time, one I/O
 * queue.
 *
 * The medium is overwritten. All memory of the driver itself is in one block of NVME_MEMORY
 * bytes that the caller has mapped for reads and writes.
 *
 * If the PHB refuses the data of a command, the command ends with a status or never
 * completes, or - with EEH - the device reads as all ones. Therefore a command without data
 * follows it in the same queue: once that one has completed, or a timeout has passed, the
 * device has had time for the transfer. nvme_recover() resets the device in all these cases.
 */
#ifndef VFIO_SPAPR_NVME_H
#define VFIO_SPAPR_NVME_H

#include <endian.h>
#include <sched.h>
#include <linux/pci_regs.h>

#include "vfio_spapr_tce.h"

#define NVME_PAGE	4096UL
#define NVME_ENTRIES	16
#define NVME_MEMORY	(8 * NVME_PAGE)
#define NVME_TIMEOUT_MS	10000
#define NVME_GRACE_MS	300

/* Pages of the driver's memory */
enum { NVME_ASQ, NVME_ACQ, NVME_SQ, NVME_CQ, NVME_BOUNCE, NVME_IDENTIFY, NVME_LIST };

/* Registers */
#define NVME_CAP	0x00
#define NVME_CC		0x14
#define NVME_CSTS	0x1c
#define NVME_AQA	0x24
#define NVME_ASQ_ADDR	0x28
#define NVME_ACQ_ADDR	0x30
#define NVME_DOORBELLS	0x1000
#define NVME_CC_SIZES	(6 << 16 | 4 << 20)	/* of I/O queue entries: 64 and 16 bytes */
#define NVME_CSTS_RDY	1
#define NVME_CSTS_CFS	2

#define NVME_ADMIN_CREATE_SQ	0x01
#define NVME_ADMIN_CREATE_CQ	0x05
#define NVME_ADMIN_IDENTIFY	0x06
#define NVME_IO_FLUSH		0x00
#define NVME_IO_WRITE		0x01
#define NVME_IO_READ		0x02

struct nvme_command {
	__u32 opcode_cid;
	__u32 nsid;
	__u64 reserved[2];
	__u64 prp1;
	__u64 prp2;
	__u32 cdw10[6];
};

struct nvme_completion {
	__u32 result;
	__u32 reserved;
	__u32 sq;
	__u32 cid_status;
};

struct nvme_queue {
	volatile struct nvme_command *sq;
	volatile struct nvme_completion *cq;
	unsigned int id, tail, head, phase, cid;
};

struct nvme {
	struct container *c;	/* for EEH; NULL: iommufd has none */
	int device;
	volatile char *bar;
	unsigned long bar_size;
	unsigned int doorbell_shift;
	char *memory;
	__u64 iova;		/* of @memory */
	unsigned int block_shift;
	struct nvme_queue admin, io;
};

static inline void nvme_barrier(void)
{
	__sync_synchronize();
}

static inline __u32 nvme_get(struct nvme *n, unsigned int reg)
{
	__u32 v = le32toh(*(volatile __u32 *)(n->bar + reg));

	nvme_barrier();
	return v;
}

static inline void nvme_set(struct nvme *n, unsigned int reg, __u32 value)
{
	nvme_barrier();
	*(volatile __u32 *)(n->bar + reg) = htole32(value);
	nvme_barrier();
}

static inline long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline int nvme_wait_ready(struct nvme *n, __u32 ready)
{
	long end = now_ms() + NVME_TIMEOUT_MS, now;
	__u32 csts;

	/* The time is that before the look: who does not run for a while must look once more. */
	do {
		now = now_ms();
		csts = nvme_get(n, NVME_CSTS);
		if (csts == ~0U)
			return -EIO;
		if ((csts & NVME_CSTS_RDY) == ready)
			return 0;
		usleep(1000);
	} while (now < end);
	return -ETIMEDOUT;
}

static inline unsigned int nvme_submit(struct nvme *n, struct nvme_queue *q, struct nvme_command *c)
{
	unsigned int cid = q->cid++ & 0x7fff;

	c->opcode_cid = htole32(c->opcode_cid | cid << 16);
	memcpy((void *)&q->sq[q->tail], c, sizeof(*c));
	q->tail = (q->tail + 1) % NVME_ENTRIES;
	nvme_set(n, NVME_DOORBELLS + (2 * q->id << n->doorbell_shift), q->tail);
	return cid;
}

/* The next completion: its command and status; -ETIMEDOUT, -EIO if the device is gone. */
static inline int nvme_completed(struct nvme *n, struct nvme_queue *q, int ms,
				 unsigned int *cid, unsigned int *status)
{
	volatile struct nvme_completion *e = &q->cq[q->head];
	long end = now_ms() + ms, now;
	__u32 v;

	/* As in nvme_wait_ready() */
	while (now = now_ms(), v = le32toh(e->cid_status), (v >> 16 & 1) != q->phase) {
		if (now > end)
			return nvme_get(n, NVME_CSTS) == ~0U ? -EIO : -ETIMEDOUT;
		if (ms > NVME_GRACE_MS)
			sched_yield();
		else
			usleep(1000);
	}
	nvme_barrier();
	*cid = v & 0xffff;
	*status = v >> 17 & 0x7ff;
	if (++q->head == NVME_ENTRIES) {
		q->head = 0;
		q->phase ^= 1;
	}
	nvme_set(n, NVME_DOORBELLS + ((2 * q->id + 1) << n->doorbell_shift), q->head);
	return 0;
}

/* 0, the status the device gave, or -errno */
static inline int nvme_do(struct nvme *n, struct nvme_queue *q, struct nvme_command *c)
{
	unsigned int cid, status, submitted = nvme_submit(n, q, c);
	int ret;

	do {
		ret = nvme_completed(n, q, NVME_TIMEOUT_MS, &cid, &status);
	} while (!ret && cid != submitted);
	return ret ? ret : (int)status;
}

static inline void nvme_init_queue(struct nvme *n, struct nvme_queue *q, unsigned int id)
{
	char *at = n->memory + 2 * id * NVME_PAGE;

	memset(at, 0, 2 * NVME_PAGE);
	*q = (struct nvme_queue) {
		.sq = (void *)at, .cq = (void *)(at + NVME_PAGE), .id = id, .phase = 1,
	};
}

/* From any state to one where commands work; 0 or what went wrong. */
static inline int nvme_start(struct nvme *n)
{
	struct nvme_command cq = {
		.opcode_cid = NVME_ADMIN_CREATE_CQ, .prp1 = htole64(n->iova + NVME_CQ * NVME_PAGE),
		.cdw10 = { htole32((NVME_ENTRIES - 1) << 16 | 1), htole32(1) },
	};
	struct nvme_command sq = {
		.opcode_cid = NVME_ADMIN_CREATE_SQ, .prp1 = htole64(n->iova + NVME_SQ * NVME_PAGE),
		.cdw10 = { htole32((NVME_ENTRIES - 1) << 16 | 1), htole32(1 << 16 | 1) },
	};
	struct nvme_command id = {
		.opcode_cid = NVME_ADMIN_IDENTIFY, .nsid = htole32(1),
		.prp1 = htole64(n->iova + NVME_IDENTIFY * NVME_PAGE),
	};
	unsigned char *about = (unsigned char *)n->memory + NVME_IDENTIFY * NVME_PAGE;
	int ret;

	nvme_set(n, NVME_CC, 0);
	ret = nvme_wait_ready(n, 0);
	if (ret)
		return ret;
	n->doorbell_shift = 2 + (nvme_get(n, NVME_CAP + 4) & 15);
	nvme_init_queue(n, &n->admin, 0);
	nvme_init_queue(n, &n->io, 1);
	nvme_set(n, NVME_AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	nvme_set(n, NVME_ASQ_ADDR, n->iova);
	nvme_set(n, NVME_ASQ_ADDR + 4, n->iova >> 32);
	nvme_set(n, NVME_ACQ_ADDR, n->iova + NVME_PAGE);
	nvme_set(n, NVME_ACQ_ADDR + 4, (n->iova + NVME_PAGE) >> 32);
	nvme_set(n, NVME_CC, NVME_CC_SIZES | 1);
	ret = nvme_wait_ready(n, NVME_CSTS_RDY);
	if (!ret)
		ret = nvme_do(n, &n->admin, &cq);
	if (!ret)
		ret = nvme_do(n, &n->admin, &sq);
	if (!ret)
		ret = nvme_do(n, &n->admin, &id);
	if (!ret)
		n->block_shift = about[128 + 4 * (about[26] & 15) + 2];
	return ret;
}

/* The address of a group's NVMe, or NULL */
static inline const char *nvme_in_group(int group)
{
	static char name[32];
	char path[128], class[16];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", group);
	d = opendir(path);
	if (!d)
		return NULL;
	while ((e = readdir(d))) {
		FILE *f;

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.16s/class", e->d_name);
		f = fopen(path, "r");
		if (f && fgets(class, sizeof(class), f) && !strncmp(class, "0x010802", 8)) {
			snprintf(name, sizeof(name), "%.16s", e->d_name);
			fclose(f);
			closedir(d);
			return name;
		}
		if (f)
			fclose(f);
	}
	closedir(d);
	return NULL;
}

static inline int nvme_bus_master(struct nvme *n)
{
	struct vfio_region_info r = {
		.argsz = sizeof(r), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	__u16 command;

	if (ioctl(n->device, VFIO_DEVICE_GET_REGION_INFO, &r) ||
	    pread(n->device, &command, 2, r.offset + PCI_COMMAND) != 2)
		return -errno;
	command |= htole16(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	return pwrite(n->device, &command, 2, r.offset + PCI_COMMAND) == 2 ? 0 : -errno;
}

static inline void nvme_close(struct nvme *n)
{
	if (n->bar) {
		nvme_set(n, NVME_CC, 0);
		nvme_wait_ready(n, 0);
		munmap((void *)n->bar, n->bar_size);
	}
	if (n->device >= 0)
		close(n->device);
	n->bar = NULL;
	n->device = -1;
}

/*
 * A device that is ready to be used, and the NVMe's to close. @memory is mapped at @iova for
 * both directions.
 */
static inline int nvme_open_device(struct nvme *n, int device, char *memory, __u64 iova)
{
	struct vfio_region_info r = {
		.argsz = sizeof(r), .index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	void *bar;
	int ret;

	memset(n, 0, sizeof(*n));
	n->device = device;
	n->memory = memory;
	n->iova = iova;
	ret = nvme_bus_master(n);
	if (!ret && ioctl(n->device, VFIO_DEVICE_GET_REGION_INFO, &r))
		ret = -errno;
	if (!ret) {
		bar = mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED, n->device, r.offset);
		if (bar == MAP_FAILED) {
			ret = -errno;
		} else {
			n->bar = bar;
			n->bar_size = r.size;
			ret = nvme_start(n);
		}
	}
	if (ret)
		nvme_close(n);
	return ret;
}

/* The NVMe @name of a group in a container. */
static inline int nvme_open_named(struct nvme *n, struct container *c, int group_fd,
				  const char *name, char *memory, __u64 iova)
{
	int device = ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, name), ret;

	memset(n, 0, sizeof(*n));
	n->device = -1;
	if (device < 0)
		return -errno;
	ret = nvme_open_device(n, device, memory, iova);
	n->c = c;
	return ret;
}

/* The NVMe of an attached group. -ENODEV: there is none. */
static inline int nvme_open(struct nvme *n, struct container *c, int group_fd, int group,
			    char *memory, __u64 iova)
{
	const char *name = nvme_in_group(group);

	if (name)
		return nvme_open_named(n, c, group_fd, name, memory, iova);
	memset(n, 0, sizeof(*n));
	n->device = -1;
	return -ENODEV;
}

static inline int nvme_eeh(struct nvme *n, __u32 what)
{
	struct vfio_eeh_pe_op op = { .argsz = sizeof(op), .op = what };

	return result(ioctl(n->c->fd, VFIO_EEH_PE_OP, &op));
}

/* After a refused access. */
static inline int nvme_recover(struct nvme *n)
{
	int state = n->c && ioctl(n->c->fd, VFIO_CHECK_EXTENSION, VFIO_EEH) == 1 ?
		    nvme_eeh(n, VFIO_EEH_PE_GET_STATE) : 0;
	int ret = 0;

	if (state > 0) {
		ret = nvme_eeh(n, VFIO_EEH_PE_RESET_HOT);
		if (!ret)
			ret = nvme_eeh(n, VFIO_EEH_PE_RESET_DEACTIVATE);
		if (!ret)
			ret = nvme_eeh(n, VFIO_EEH_PE_CONFIGURE);
		if (!ret)
			ret = nvme_bus_master(n);
	}
	return ret ? ret : nvme_start(n);
}

static inline void nvme_rw_command(struct nvme *n, struct nvme_command *c, int opcode,
				   unsigned long page, __u64 iova)
{
	unsigned long block = page << (12 - n->block_shift);

	*c = (struct nvme_command) {
		.opcode_cid = opcode, .nsid = htole32(1), .prp1 = htole64(iova),
		.cdw10 = { htole32(block), htole32(block >> 32),
			   htole32((1U << (12 - n->block_shift)) - 1) },
	};
}

/* Device page @page of the medium from or to @iova; 0, a status or -errno */
static inline int nvme_rw(struct nvme *n, int opcode, unsigned long page, __u64 iova)
{
	struct nvme_command c;

	nvme_rw_command(n, &c, opcode, page, iova);
	return nvme_do(n, &n->io, &c);
}

/*
 * The same for pages that lie anywhere: @iovas of @nr device pages in a row.
 */
static inline int nvme_rw_list(struct nvme *n, int opcode, unsigned long page, const __u64 *iovas,
			       unsigned int nr)
{
	__u64 *list = (__u64 *)(n->memory + NVME_LIST * NVME_PAGE);
	struct nvme_command c;
	unsigned int i;

	nvme_rw_command(n, &c, opcode, page, iovas[0]);
	c.cdw10[2] = htole32((nr << (12 - n->block_shift)) - 1);
	for (i = 1; i < nr; i++)
		list[i - 1] = htole64(iovas[i]);
	c.prp2 = nr == 2 ? list[0] : htole64(n->iova + NVME_LIST * NVME_PAGE);
	return nvme_do(n, &n->io, &c);
}

/*
 * A transfer that should not happen; 0, whatever the device says of it: QEMU's believes
 * to have moved the data that its PHB has dropped. Then nvme_recover() is due.
 */
static inline int nvme_try(struct nvme *n, int opcode, unsigned long page, __u64 iova)
{
	struct nvme_command c, flush = { .opcode_cid = NVME_IO_FLUSH, .nsid = htole32(1) };
	unsigned int cid, status, tried, fence;
	int ret, ms = NVME_TIMEOUT_MS;

	nvme_rw_command(n, &c, opcode, page, iova);
	tried = nvme_submit(n, &n->io, &c);
	fence = nvme_submit(n, &n->io, &flush);
	while (!(ret = nvme_completed(n, &n->io, ms, &cid, &status))) {
		if (cid == tried)
			return 0;
		if (cid == fence)
			ms = NVME_GRACE_MS;
	}
	return ret == -ETIMEDOUT || ret == -EIO ? 0 : ret;
}

/* What a page of the medium holds, from where DMA is known to work */
static inline int nvme_medium_set(struct nvme *n, unsigned long page, const void *data)
{
	memcpy(n->memory + NVME_BOUNCE * NVME_PAGE, data, NVME_PAGE);
	return nvme_rw(n, NVME_IO_WRITE, page, n->iova + NVME_BOUNCE * NVME_PAGE);
}

static inline int nvme_medium_get(struct nvme *n, unsigned long page, void *data)
{
	int ret = nvme_rw(n, NVME_IO_READ, page, n->iova + NVME_BOUNCE * NVME_PAGE);

	memcpy(data, n->memory + NVME_BOUNCE * NVME_PAGE, NVME_PAGE);
	return ret;
}

#endif
