/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tries once more, instrumented like the rest of the kernel, so that KASAN and the
 * others see them: iommu_user_try_kunit.c is iommu_user_try.c by other names.
 */
#ifndef IOMMU_USER_TRY_KUNIT_H
#define IOMMU_USER_TRY_KUNIT_H

#include <asm/iommu_user.h>
#include "../iommu_user_lines.h"

/* The functions of iommu_user_try.c that cases call by address */
struct iommu_user_tries {
	typeof(iommu_user_try_map) *map;
	typeof(iommu_user_try_map_list) *map_list;
	typeof(iommu_user_try_unmap) *unmap;
	typeof(iommu_user_try_finish) *finish;
	typeof(iommu_user_try_map_one) *map_one;
	typeof(iommu_user_try_unmap_one) *unmap_one;
};

extern typeof(iommu_line_wait) kunit_line_wait;
extern typeof(iommu_line_leads_to) kunit_line_leads_to;
extern typeof(iommu_line_count) kunit_line_count;
extern typeof(iommu_user_held_by) kunit_user_held_by;
extern typeof(iommu_user_try_ready) kunit_try_ready;
extern typeof(iommu_user_try_map) kunit_try_map;
extern typeof(iommu_user_try_map_list) kunit_try_map_list;
extern typeof(iommu_user_try_unmap) kunit_try_unmap;
extern typeof(iommu_user_try_finish) kunit_try_finish;
extern typeof(iommu_user_try_map_one) kunit_try_map_one;
extern typeof(iommu_user_try_unmap_one) kunit_try_unmap_one;

#define KUNIT_TRIES	{ kunit_try_map, kunit_try_map_list, kunit_try_unmap,	\
			  kunit_try_finish, kunit_try_map_one, kunit_try_unmap_one }

#endif /* IOMMU_USER_TRY_KUNIT_H */
