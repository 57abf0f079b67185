// SPDX-License-Identifier: GPL-2.0-or-later
/* See iommu_user_try_kunit.h. */
#include "iommu_user_try_kunit.h"

#define iommu_line_wait		kunit_line_wait
#define iommu_line_leads_to	kunit_line_leads_to
#define iommu_line_count	kunit_line_count
#define iommu_user_held_by	kunit_user_held_by
#define iommu_user_try_ready	kunit_try_ready
#define iommu_user_try_map	kunit_try_map
#define iommu_user_try_map_list	kunit_try_map_list
#define iommu_user_try_unmap	kunit_try_unmap
#define iommu_user_try_finish	kunit_try_finish
#define iommu_user_try_map_one	kunit_try_map_one
#define iommu_user_try_unmap_one kunit_try_unmap_one

#include "../iommu_user_try.c"
