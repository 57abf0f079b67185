/* SPDX-License-Identifier: GPL-2.0-or-later */
#if !defined(_TRACE_KVM_VIO_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_VIO_H

#include <linux/tracepoint.h>
#include <asm/hvcall.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm_vio

/*
 * A TCE hypercall that virtual mode has seen to. @value: the TCE, the list's guest address, or
 * what was stuffed. @ret H_TOO_HARD: user space does it.
 */
TRACE_EVENT(kvm_tce_hcall,
	TP_PROTO(unsigned long hcall, unsigned long liobn, unsigned long ioba,
		 unsigned long value, unsigned long npages, long ret),
	TP_ARGS(hcall, liobn, ioba, value, npages, ret),

	TP_STRUCT__entry(
		__field(unsigned long,	hcall)
		__field(unsigned long,	liobn)
		__field(unsigned long,	ioba)
		__field(unsigned long,	value)
		__field(unsigned long,	npages)
		__field(long,		ret)
	),

	TP_fast_assign(
		__entry->hcall	= hcall;
		__entry->liobn	= liobn;
		__entry->ioba	= ioba;
		__entry->value	= value;
		__entry->npages	= npages;
		__entry->ret	= ret;
	),

	TP_printk("%s liobn=0x%lx ioba=0x%lx value=0x%lx npages=%lu ret=%ld",
		  __print_symbolic(__entry->hcall,
				   { H_GET_TCE, "H_GET_TCE" },
				   { H_PUT_TCE, "H_PUT_TCE" },
				   { H_PUT_TCE_INDIRECT, "H_PUT_TCE_INDIRECT" },
				   { H_STUFF_TCE, "H_STUFF_TCE" }),
		  __entry->liobn, __entry->ioba, __entry->value,
		  __entry->npages, __entry->ret)
);

/* A hardware table put behind a LIOBN for an IOMMU group, or taken away (@attached 0) */
TRACE_EVENT(kvm_tce_table,
	TP_PROTO(unsigned long liobn, int group, bool attached),
	TP_ARGS(liobn, group, attached),

	TP_STRUCT__entry(
		__field(unsigned long,	liobn)
		__field(int,		group)
		__field(bool,		attached)
	),

	TP_fast_assign(
		__entry->liobn		= liobn;
		__entry->group		= group;
		__entry->attached	= attached;
	),

	TP_printk("liobn=0x%lx group=%d attached=%d",
		  __entry->liobn, __entry->group, __entry->attached)
);

#endif /* _TRACE_KVM_VIO_H */

/* This part must be outside protection */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE

#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace_vio

#include <trace/define_trace.h>
