/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls of a sPAPR TCE container and their results. @container only distinguishes
 * containers: it is hashed when printed.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vfio_spapr_tce

#if !defined(VFIO_IOMMU_SPAPR_TCE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VFIO_IOMMU_SPAPR_TCE_TRACE_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(vfio_spapr_tce_memory,
	TP_PROTO(void *container, u64 vaddr, u64 size, int ret),
	TP_ARGS(container, vaddr, size, ret),
	TP_STRUCT__entry(
		__field(void *, container)
		__field(u64, vaddr)
		__field(u64, size)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->container = container;
		__entry->vaddr = vaddr;
		__entry->size = size;
		__entry->ret = ret;
	),
	TP_printk("container=%p vaddr=0x%llx size=0x%llx ret=%d",
		  __entry->container, __entry->vaddr, __entry->size, __entry->ret)
);

DEFINE_EVENT(vfio_spapr_tce_memory, vfio_spapr_tce_register,
	TP_PROTO(void *container, u64 vaddr, u64 size, int ret),
	TP_ARGS(container, vaddr, size, ret)
);

DEFINE_EVENT(vfio_spapr_tce_memory, vfio_spapr_tce_unregister,
	TP_PROTO(void *container, u64 vaddr, u64 size, int ret),
	TP_ARGS(container, vaddr, size, ret)
);

TRACE_EVENT(vfio_spapr_tce_window_create,
	TP_PROTO(void *container, u64 start, u64 size, u32 page_shift, u32 levels,
		 int ret),
	TP_ARGS(container, start, size, page_shift, levels, ret),
	TP_STRUCT__entry(
		__field(void *, container)
		__field(u64, start)
		__field(u64, size)
		__field(u32, page_shift)
		__field(u32, levels)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->container = container;
		__entry->start = start;
		__entry->size = size;
		__entry->page_shift = page_shift;
		__entry->levels = levels;
		__entry->ret = ret;
	),
	TP_printk("container=%p start=0x%llx size=0x%llx page_shift=%u levels=%u ret=%d",
		  __entry->container, __entry->start, __entry->size,
		  __entry->page_shift, __entry->levels, __entry->ret)
);

TRACE_EVENT(vfio_spapr_tce_window_remove,
	TP_PROTO(void *container, u64 start),
	TP_ARGS(container, start),
	TP_STRUCT__entry(
		__field(void *, container)
		__field(u64, start)
	),
	TP_fast_assign(
		__entry->container = container;
		__entry->start = start;
	),
	TP_printk("container=%p start=0x%llx", __entry->container, __entry->start)
);

TRACE_EVENT(vfio_spapr_tce_map,
	TP_PROTO(void *container, u64 iova, u64 size, u64 vaddr, u32 flags, int ret),
	TP_ARGS(container, iova, size, vaddr, flags, ret),
	TP_STRUCT__entry(
		__field(void *, container)
		__field(u64, iova)
		__field(u64, size)
		__field(u64, vaddr)
		__field(u32, flags)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->container = container;
		__entry->iova = iova;
		__entry->size = size;
		__entry->vaddr = vaddr;
		__entry->flags = flags;
		__entry->ret = ret;
	),
	TP_printk("container=%p iova=0x%llx size=0x%llx vaddr=0x%llx flags=0x%x ret=%d",
		  __entry->container, __entry->iova, __entry->size, __entry->vaddr,
		  __entry->flags, __entry->ret)
);

TRACE_EVENT(vfio_spapr_tce_unmap,
	TP_PROTO(void *container, u64 iova, u64 size, u32 flags, u64 unmapped, int ret),
	TP_ARGS(container, iova, size, flags, unmapped, ret),
	TP_STRUCT__entry(
		__field(void *, container)
		__field(u64, iova)
		__field(u64, size)
		__field(u32, flags)
		__field(u64, unmapped)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->container = container;
		__entry->iova = iova;
		__entry->size = size;
		__entry->flags = flags;
		__entry->unmapped = unmapped;
		__entry->ret = ret;
	),
	TP_printk("container=%p iova=0x%llx size=0x%llx flags=0x%x unmapped=0x%llx ret=%d",
		  __entry->container, __entry->iova, __entry->size, __entry->flags,
		  __entry->unmapped, __entry->ret)
);

#endif /* VFIO_IOMMU_SPAPR_TCE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../../drivers/vfio
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE vfio_iommu_spapr_tce_trace
#include <trace/define_trace.h>
