/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small virtual machine on KVM-HV, whose guest only makes TCE hypercalls. There is no QEMU:
 * a hypercall that KVM does not serve is a KVM_EXIT_PAPR_HCALL of the test. Containers are
 * those of vfio_spapr_tce.h.
 *
 * The guest runs with the MMU off and external interrupts disabled, which is the same
 * for hash and radix guests, on POWER8 and later. Its whole code is the loop below. The
 * host stores a list of calls in the vCPU's part of guest memory. The guest makes them one
 * after the other, records results and time base ticks, and returns the list by a hypercall
 * that KVM does not know (NR_DONE).
 *
 * Guest memory:
 *	0		code
 *	1M + n * 1M	calls of vcpu n, then its TCE list page(s)
 *	8M - RAM	pages to map; RAM is memslot 0, larger ones can be added
 *
 * Functions return 0 or -errno unless said otherwise. All static: a test is one C file.
 */
#ifndef VFIO_SPAPR_KVM_H
#define VFIO_SPAPR_KVM_H

#include <endian.h>
#include <sys/auxv.h>

#include "vfio_spapr_tce.h"

#include <linux/kvm.h>

/* Hypercalls and their answers, LoPAR "hypervisor call functions"; KVM's own begin at 0xf000. */
#define H_READ			0x0c
#define H_GET_TCE		0x1c
#define H_PUT_TCE		0x20
#define H_PROD			0xe8
#define H_STUFF_TCE		0x138
#define H_PUT_TCE_INDIRECT	0x13c
#define NR_DONE			0x1fff0	/* ours: the list is done */
#define NR_UP			0x1fff4	/* ours: goes to user space and back, nothing else */

#define H_SUCCESS		0
#define H_PARAMETER		-4
#define H_P4			-57
#define WENT_UP			0x7575	/* ours: user space was asked, and did nothing */

#define TCE_READ		1UL
#define TCE_WRITE		2UL
#define TCE_RW			(TCE_READ | TCE_WRITE)
#define TCES_PER_LIST		512UL
#define LIST_SIZE		4096UL

#define MAX_VCPUS		4
#define MAX_CALLS		4096U
#define VCPU_AREA		MiB
#define MAP_FROM		(8 * MiB)	/* guest memory below is the program's own */

struct hcall {
	__u64 nr;
	__u64 arg[4];
	__s64 ret;
	__u64 out;	/* R4 */
	__u64 ticks;
};

struct vm;

struct vcpu {
	struct vm *vm;
	int fd;
	struct kvm_run *run;
	bool started;
	struct hcall *calls;
	__u64 calls_gpa;
	__be64 *list;		/* TCEs for H_PUT_TCE_INDIRECT */
	__u64 list_gpa;
	long went_up;		/* calls that user space was asked to do */
};

struct vm {
	int kvm;
	int fd;
	int vfio;		/* the KVM device for groups, -1 until needed */
	int nr_vcpus;
	int run_size;
	char *ram;
	unsigned long ram_size;
	struct vcpu vcpu[MAX_VCPUS];
};

/*
 * r14: the next call, r15: how many. NR_DONE returns both in R4 and R5. Hypercalls keep
 * r13 to r31. Everything is position independent.
 */
asm(".pushsection .rodata\n"
	".balign 8\n"
	"guest_code:\n"
	"	lis	3, 1\n"
	"	ori	3, 3, 0xfff0\n"		/* NR_DONE */
	"	sc	1\n"
	"	mr	14, 4\n"
	"	mr	15, 5\n"
	"1:	cmpldi	15, 0\n"
	"	beq	guest_code\n"
	"	ld	3, 0(14)\n"
	"	ld	4, 8(14)\n"
	"	ld	5, 16(14)\n"
	"	ld	6, 24(14)\n"
	"	ld	7, 32(14)\n"
	"	ori	0, 0, 0x5a5b\n"		/* marks for a tracer that counts between them */
	"	mfspr	16, 268\n"		/* TBR */
	"	sc	1\n"
	"	mfspr	17, 268\n"
	"	ori	0, 0, 0x5a5c\n"
	"	std	3, 40(14)\n"
	"	std	4, 48(14)\n"
	"	subf	17, 16, 17\n"
	"	std	17, 56(14)\n"
	"	addi	14, 14, 64\n"
	"	addi	15, 15, -1\n"
	"	b	1b\n"
	"guest_code_end:\n"
	".popsection\n");
extern const char guest_code[], guest_code_end[];

/* Before ISA 3.0: guests need a hash table. */
static inline bool host_is_power8(void)
{
	const unsigned long arch_3_00 = 0x00800000;

	return !(getauxval(AT_HWCAP2) & arch_3_00);
}

static inline void *map_memory(unsigned long size)
{
	const unsigned long align = 16 * MiB;
	char *p = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned long skip;

	if (p == MAP_FAILED)
		return NULL;
	skip = -(unsigned long)p & (align - 1);
	if (skip)
		munmap(p, skip);
	munmap(p + skip + size, align - skip);
	return p + skip;
}

/* @size 0 takes the slot away. */
static inline int vm_slot(struct vm *vm, int slot, __u64 gpa, void *addr, unsigned long size)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (__u64)addr,
	};

	return result(ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r));
}

static inline int vcpu_init(struct vm *vm, int n)
{
	struct kvm_enable_cap papr = { .cap = KVM_CAP_PPC_PAPR };
	struct vcpu *v = &vm->vcpu[n];
	struct kvm_regs regs;

	v->vm = vm;
	v->calls_gpa = (n + 1) * VCPU_AREA;
	v->calls = (struct hcall *)(vm->ram + v->calls_gpa);
	v->list_gpa = v->calls_gpa + VCPU_AREA / 2;
	v->list = (__be64 *)(vm->ram + v->list_gpa);
	v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, n);
	if (v->fd < 0)
		return -errno;
	v->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED || ioctl(v->fd, KVM_ENABLE_CAP, &papr) ||
	    ioctl(v->fd, KVM_GET_REGS, &regs))
		return -errno;
	regs.pc = 0;
	regs.msr = 1UL << 63 | 1UL << 12;	/* SF, ME; not EE, IR, DR */
	if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
		regs.msr |= 1;
	return result(ioctl(v->fd, KVM_SET_REGS, &regs));
}

static inline void vm_destroy(struct vm *vm)
{
	int i;

	for (i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpu[i].run && vm->vcpu[i].run != MAP_FAILED)
			munmap(vm->vcpu[i].run, vm->run_size);
		if (vm->vcpu[i].fd >= 0)
			close(vm->vcpu[i].fd);
	}
	if (vm->vfio >= 0)
		close(vm->vfio);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm >= 0)
		close(vm->kvm);
	if (vm->ram)
		munmap(vm->ram, vm->ram_size);
	vm->nr_vcpus = 0;
	vm->vfio = -1;
	vm->fd = -1;
	vm->kvm = -1;
	vm->ram = NULL;
}

/* -ENODEV: no KVM-HV here. On failure vm_destroy() is still due. */
static inline int vm_create(struct vm *vm, int nr_vcpus, unsigned long ram_size)
{
	const __u64 enable[] = { H_PUT_TCE_INDIRECT, H_STUFF_TCE };
	struct kvm_enable_cap cap = { .cap = KVM_CAP_PPC_ENABLE_HCALL };
	__u32 htab_order = 20;
	unsigned int i;
	int ret;

	memset(vm, 0, sizeof(*vm));
	vm->vfio = -1;
	vm->fd = -1;
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		return -ENODEV;
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, KVM_VM_PPC_HV);
	if (vm->fd < 0)
		return -ENODEV;
	vm->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	for (i = 0; i < 2; i++) {
		cap.args[0] = enable[i];
		cap.args[1] = 1;
		if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap))
			return -errno;
	}
	vm->ram_size = ram_size;
	vm->ram = map_memory(ram_size);
	if (!vm->ram)
		return -ENOMEM;
	memcpy(vm->ram, guest_code, guest_code_end - guest_code);
	ret = vm_slot(vm, 0, 0, vm->ram, ram_size);
	if (ret)
		return ret;
	/* A radix guest has none; where the host is radix too, that is what it gets. */
	if (host_is_power8() && ioctl(vm->fd, KVM_PPC_ALLOCATE_HTAB, &htab_order))
		return -errno;
	/*
	 * On POWER8, neighbouring numbers are threads of one core where it has threads
	 * (all but the first offline in the host, as KVM wants it).
	 */
	for (; vm->nr_vcpus < nr_vcpus && !ret; vm->nr_vcpus++)
		ret = vcpu_init(vm, vm->nr_vcpus);
	return ret;
}

/*
 * Let the guest do the first @n calls of the vcpu's list. What comes up to user space is
 * answered with WENT_UP. -EIO: the guest ended in another way.
 */
static inline int vcpu_run(struct vcpu *v, unsigned int n)
{
	struct kvm_run *run = v->run;
	bool given = false;

	for (;;) {
		if (v->started && !given) {
			run->papr_hcall.args[0] = v->calls_gpa;
			run->papr_hcall.args[1] = n;
			given = true;
		}
		if (ioctl(v->fd, KVM_RUN, 0)) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (run->exit_reason != KVM_EXIT_PAPR_HCALL) {
			fprintf(stderr, "guest ended with exit reason %u\n", run->exit_reason);
			return -EIO;
		}
		if (run->papr_hcall.nr == NR_DONE) {
			v->started = true;
			run->papr_hcall.ret = H_SUCCESS;
			if (given)
				return 0;
			continue;
		}
		run->papr_hcall.ret = WENT_UP;
		v->went_up++;
	}
}

static inline void hcall_set(struct hcall *c, __u64 nr, __u64 a0, __u64 a1, __u64 a2, __u64 a3)
{
	c->nr = nr;
	c->arg[0] = a0;
	c->arg[1] = a1;
	c->arg[2] = a2;
	c->arg[3] = a3;
	c->ret = 0x0bad;
	c->out = 0;
}

/* One call; what came back, or a negative number no hypercall returns. */
static inline long vcpu_hcall(struct vcpu *v, __u64 nr, __u64 a0, __u64 a1, __u64 a2, __u64 a3)
{
	int ret;

	hcall_set(&v->calls[0], nr, a0, a1, a2, a3);
	ret = vcpu_run(v, 1);
	return ret ? -100000 + ret : (long)v->calls[0].ret;
}

/* The guest's TCE table: an fd or -errno. @start in bytes, @entries of 1 << @shift. */
static inline int vm_create_table(struct vm *vm, __u64 liobn, unsigned int shift, __u64 start,
				  __u64 entries)
{
	struct kvm_create_spapr_tce_64 t = {
		.liobn = liobn, .page_shift = shift, .offset = start >> shift, .size = entries,
	};

	return result(ioctl(vm->fd, KVM_CREATE_SPAPR_TCE_64, &t));
}

static inline int vm_vfio_attr(struct vm *vm, int attr, void *arg)
{
	struct kvm_device_attr a = {
		.group = KVM_DEV_VFIO_GROUP, .attr = attr, .addr = (__u64)arg,
	};
	struct kvm_create_device d = { .type = KVM_DEV_TYPE_VFIO };

	if (vm->vfio < 0) {
		if (ioctl(vm->fd, KVM_CREATE_DEVICE, &d))
			return -errno;
		vm->vfio = d.fd;
	}
	return result(ioctl(vm->vfio, KVM_SET_DEVICE_ATTR, &a));
}

static inline int vm_group_add(struct vm *vm, int group)
{
	return vm_vfio_attr(vm, KVM_DEV_VFIO_GROUP_ADD, &group);
}

static inline int vm_group_del(struct vm *vm, int group)
{
	return vm_vfio_attr(vm, KVM_DEV_VFIO_GROUP_DEL, &group);
}

static inline int vm_group_attach(struct vm *vm, int group, int table)
{
	struct kvm_vfio_spapr_tce p = { .groupfd = group, .tablefd = table };

	return vm_vfio_attr(vm, KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE, &p);
}

/* Add the group and put its window behind the guest's table. */
static inline int vm_group_give(struct vm *vm, int group, int table)
{
	int ret = vm_group_add(vm, group);

	return ret ? ret : vm_group_attach(vm, group, table);
}

/* One of a vcpu's binary statistics; -1 if this kernel has none of that name. */
static inline long vcpu_stat(int vcpu, const char *name)
{
	struct kvm_stats_header h;
	struct kvm_stats_desc *d;
	int fd = ioctl(vcpu, KVM_GET_STATS_FD, NULL);
	long value = -1;
	unsigned int i;
	char *desc = NULL;
	size_t one;
	__u64 n;

	if (fd < 0)
		return -1;
	if (pread(fd, &h, sizeof(h), 0) != sizeof(h))
		goto out;
	one = sizeof(*d) + h.name_size;
	desc = malloc(one * h.num_desc);
	if (!desc ||
	    pread(fd, desc, one * h.num_desc, h.desc_offset) != (ssize_t)(one * h.num_desc))
		goto out;
	for (i = 0; i < h.num_desc; i++) {
		d = (struct kvm_stats_desc *)(desc + i * one);
		if (!strcmp(d->name, name) &&
		    pread(fd, &n, sizeof(n), h.data_offset + d->offset) == sizeof(n))
			value = n;
	}
out:
	free(desc);
	close(fd);
	return value;
}

/*
 * Does KVM try hypercalls in real mode first? An H_GET_TCE tells, which has all it needs there.
 * A kernel need not, and does so on POWER8 only.
 */
static inline bool vcpu_real_mode(struct vcpu *v, __u64 liobn, __u64 ioba)
{
	long before = vcpu_stat(v->fd, "tce_get_rm");

	vcpu_hcall(v, H_GET_TCE, liobn, ioba, 0, 0);
	return vcpu_stat(v->fd, "tce_get_rm") > before;
}

/* Whoever knows that this kernel does says so: then it is a failure if it does not. */
static inline bool real_mode_expected(void)
{
	return getenv("KVM_TCE_REAL_MODE");
}

/* The sum over the VM's vcpus, as debugfs shows it for the VM; -1 as above */
static inline long vm_stat(struct vm *vm, const char *name)
{
	long sum = 0, value;
	int i;

	for (i = 0; i < vm->nr_vcpus; i++) {
		value = vcpu_stat(vm->vcpu[i].fd, name);
		if (value < 0)
			return -1;
		sum += value;
	}
	return sum;
}

/* VMs of this process that are not gone yet, their fds closed or not; 0 without debugfs */
static inline long vms_left(void)
{
	DIR *d = opendir("/sys/kernel/debug/kvm");
	struct dirent *e;
	long n = 0;

	while (d && (e = readdir(d)))
		n += atoi(e->d_name) == getpid();	/* PID-FD */
	if (d)
		closedir(d);
	return n;
}

#define NO_VIEW		-1000L	/* this kernel does not show its regions */
#define NO_REGION	-1001L

/* The region's "mapped": 1 and one per live TCE. */
static inline long region_mapped(void *addr)
{
	FILE *f = fopen("/sys/kernel/debug/powerpc/mm_iommu", "r");
	long mapped, value = NO_REGION;
	unsigned long ua;
	char line[300];
	int pid;

	if (!f)
		return NO_VIEW;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%d %*s 0x%lx 0x%*x %*u %*u %*u %ld", &pid, &ua, &mapped) == 3 &&
		    pid == getpid() && ua == (unsigned long)addr)
			value = mapped;
	fclose(f);
	return value;
}

#endif /* VFIO_SPAPR_KVM_H */
