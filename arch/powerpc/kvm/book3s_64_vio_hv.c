// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCE hypercalls in real mode: POWER8 guests, MMU off, guest context loaded.
 *
 * Only what real mode needs differently is here; the rest is book3s_64_vio.h, compiled
 * for this context. Always built in and never instrumented (see the Makefile): nothing
 * outside the linear map may be touched, nothing may be printed, nothing may sleep.
 *
 * Goes up to virtual mode (H_TOO_HARD): a level of a hardware table or a page of the
 * view is missing, memory is not registered, an entry is being changed by someone else,
 * the table has no real-mode invalidation or is revoked, RCU doesn't cover real mode
 * (context tracking), more than 512 entries. Where that shows only half way, the
 * entries done so far are complete, and doing them again is right.
 */
#include <linux/context_tracking_state.h>
#include <linux/mm.h>
#include <asm/mm_iommu.h>
#include "book3s_64_vio.h"

static __always_inline long kvmppc_rm_count(long ret, u64 *count)
{
	if (ret != H_TOO_HARD)
		(*count)++;
	return ret;
}

/* Out of line: it needs a gather on the stack. */
noinline long kvmppc_rm_tce_put_hw(struct kvm_vcpu *vcpu, struct iommu_table *tbl,
				   unsigned long entry, unsigned long n,
				   unsigned long ua, unsigned long perm)
{
	return kvmppc_tce_put_range(vcpu, tbl, entry, n, ua, perm, true);
}

/*
 * With context tracking RCU doesn't wait for this core, and regions are looked up for
 * lists before any hardware table is. Radix guests never get here, but nothing below
 * would be right for one.
 */
static __always_inline bool kvmppc_rm_refuses(struct kvm_vcpu *vcpu)
{
	return kvm_is_radix(vcpu->kvm) || context_tracking_enabled();
}

/**
 * kvmppc_rm_h_get_tce() - H_GET_TCE in real mode
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the TCE
 *
 * Context: hypervisor real mode, from hcall_real_table.
 * Return: H_* code; the TCE in the guest's r4.
 */
long kvmppc_rm_h_get_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
			 unsigned long ioba)
{
	return kvmppc_rm_count(kvmppc_tce_get(vcpu, liobn, ioba),
			       &vcpu->stat.tce_get_rm);
}

/**
 * kvmppc_rm_h_put_tce() - H_PUT_TCE in real mode
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address
 * @tce: guest physical address and permission bits
 *
 * Context: hypervisor real mode, from hcall_real_table. Return: H_* code.
 */
long kvmppc_rm_h_put_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
			 unsigned long ioba, unsigned long tce)
{
	if (unlikely(kvmppc_rm_refuses(vcpu)))
		return kvmppc_tce_too_hard(vcpu, mode);
	return kvmppc_rm_count(kvmppc_tce_put(vcpu, liobn, ioba, tce, true),
			       &vcpu->stat.tce_put_rm);
}

/*
 * The guest's list at an address the MMU is not needed for: in a region, whose pages
 * are pinned, and in memory proper, not in a device's.
 */
static const __be64 *kvmppc_rm_list(struct kvm_vcpu *vcpu, unsigned long ua)
{
	unsigned long hpa;

	if (mm_iommu_translate(vcpu->kvm->mm, ua, &hpa) < (long)SZ_4K)
		return NULL;
	if (!realmode_pfn_to_page(hpa >> PAGE_SHIFT))
		return NULL;
	return __va(hpa);
}

/**
 * kvmppc_rm_h_put_tce_indirect() - H_PUT_TCE_INDIRECT in real mode
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the first
 * @tce_list: guest physical address of a 4K page of TCEs
 * @npages: how many TCEs
 *
 * Context: hypervisor real mode, from hcall_real_table. Return: H_* code.
 */
long kvmppc_rm_h_put_tce_indirect(struct kvm_vcpu *vcpu, unsigned long liobn,
				  unsigned long ioba, unsigned long tce_list,
				  unsigned long npages)
{
	struct kvmppc_spapr_tce_table *stt = kvmppc_tce_find(vcpu->kvm, liobn);
	struct kvmppc_tce_slot slot = { .slots = kvmppc_tce_memslots(vcpu->kvm, true) };
	unsigned long idx;
	const __be64 *src;

	if (kvmppc_rm_refuses(vcpu))
		return kvmppc_tce_too_hard(vcpu, mode);
	if (!stt)
		return kvmppc_tce_too_hard(vcpu, liobn);
	if (npages > KVM_TCE_LIST || (tce_list & (SZ_4K - 1)) ||
	    !kvmppc_tce_in_window(stt, ioba, npages, &idx))
		return kvmppc_rm_count(H_PARAMETER, &vcpu->stat.tce_indirect_rm);
	/* A vCPU's first call has nowhere to copy to yet: virtual mode sees to it. */
	if (!vcpu->arch.tce_list ||
	    !kvmppc_tce_slot_find(tce_list, 0, SZ_4K, &slot))
		return kvmppc_tce_too_hard(vcpu, args);

	src = kvmppc_rm_list(vcpu, kvmppc_tce_slot_ua(&slot, tce_list));
	if (!src)
		return kvmppc_tce_too_hard(vcpu, unregistered);

	return kvmppc_rm_count(kvmppc_tce_put_list(vcpu, stt, idx, src,
						   vcpu->arch.tce_list,
						   npages, true),
			       &vcpu->stat.tce_indirect_rm);
}

/**
 * kvmppc_rm_h_stuff_tce() - H_STUFF_TCE in real mode
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the first
 * @tce_value: what to put, without permission bits
 * @npages: how many TCEs; more than 512 go up
 *
 * Context: hypervisor real mode, from hcall_real_table. Return: H_* code.
 */
long kvmppc_rm_h_stuff_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
			   unsigned long ioba, unsigned long tce_value,
			   unsigned long npages)
{
	struct kvmppc_spapr_tce_table *stt = kvmppc_tce_find(vcpu->kvm, liobn);
	unsigned long idx;

	if (kvmppc_rm_refuses(vcpu))
		return kvmppc_tce_too_hard(vcpu, mode);
	if (!stt)
		return kvmppc_tce_too_hard(vcpu, liobn);
	if ((tce_value & KVM_TCE_PERM) ||
	    !kvmppc_tce_in_window(stt, ioba, npages, &idx))
		return kvmppc_rm_count(H_PARAMETER, &vcpu->stat.tce_stuff_rm);
	if (npages > KVM_TCE_LIST)
		return kvmppc_tce_too_hard(vcpu, args);

	return kvmppc_rm_count(kvmppc_tce_stuff(vcpu, stt, idx, tce_value,
						npages, true),
			       &vcpu->stat.tce_stuff_rm);
}
