/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Call a function with the MMU off, as a hypervisor's real mode handlers run.
 *
 * Effective addresses of the linear map work in hypervisor real mode as they are:
 * the top address bits are ignored. So stack, TOC and data need no conversion, as
 * long as all of them are in the linear map.
 */
#include <asm/asm-offsets.h>
#include <asm/exception-64s.h>
#include <asm/ppc_asm.h>
#include <asm/ptrace.h>
#include <asm/reg.h>

#define FRAME	(STACK_FRAME_MIN_SIZE + 32)

/*
 * long mm_iommu_test_call_real(unsigned long entry, const unsigned long arg[6])
 *
 * Interrupts are hard disabled by the caller, which also has to tell that SRR0
 * and SRR1 were used. RI is off throughout: nothing may fault in @entry.
 */
	.section ".text"

_GLOBAL_TOC(mm_iommu_test_call_real)
	mflr	r0
	std	r0,PPC_LR_STKOFF(r1)
	mfcr	r0
	std	r0,8(r1)
	stdu	r1,-FRAME(r1)
	std	r31,STACK_FRAME_MIN_SIZE(r1)
	std	r2,STACK_FRAME_MIN_SIZE+8(r1)

	mr	r12,r3
	mtctr	r3
	mr	r11,r4
	ld	r3,0(r11)
	ld	r4,8(r11)
	ld	r5,16(r11)
	ld	r6,24(r11)
	ld	r7,32(r11)
	ld	r8,40(r11)

	mfmsr	r31
	LOAD_REG_IMMEDIATE(r9, MSR_IR | MSR_DR | MSR_EE | MSR_RI)
	andc	r9,r31,r9
	LOAD_REG_ADDR(r10, mm_iommu_test_real_on)
	clrldi	r10,r10,2
	li	r0,0
	mtmsrd	r0,1			/* EE and RI off before SRRs are used */
	mtspr	SPRN_SRR0,r10
	mtspr	SPRN_SRR1,r9
	RFI_TO_KERNEL
	b	.

mm_iommu_test_real_on:
	bctrl
	ld	r2,STACK_FRAME_MIN_SIZE+8(r1)
	LOAD_REG_ADDR(r10, mm_iommu_test_real_off)
	mtspr	SPRN_SRR0,r10
	mtspr	SPRN_SRR1,r31
	RFI_TO_KERNEL
	b	.

mm_iommu_test_real_off:
	ld	r31,STACK_FRAME_MIN_SIZE(r1)
	addi	r1,r1,FRAME
	ld	r0,8(r1)
	mtcr	r0
	ld	r0,PPC_LR_STKOFF(r1)
	mtlr	r0
	blr
_ASM_NOKPROBE_SYMBOL(mm_iommu_test_call_real)
