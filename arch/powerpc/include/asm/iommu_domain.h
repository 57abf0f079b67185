/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOMMU API: paging domains on TCE tables. See arch/powerpc/kernel/iommu_domain.c.
 */
#ifndef _ASM_POWERPC_IOMMU_DOMAIN_H
#define _ASM_POWERPC_IOMMU_DOMAIN_H

struct device;
struct iommu_domain;
struct iommu_table_group;
struct list_head;

struct iommu_domain *spapr_tce_domain_alloc(struct device *dev);
int spapr_tce_domain_attach(struct iommu_domain *domain, struct device *dev);
#ifdef CONFIG_SPAPR_TCE_IOMMU
int spapr_tce_domain_leave(struct iommu_table_group *table_group);
#else
static inline int spapr_tce_domain_leave(struct iommu_table_group *table_group)
{
	return 0;
}
#endif
void spapr_tce_get_resv_regions(struct device *dev, struct list_head *head);

#endif /* _ASM_POWERPC_IOMMU_DOMAIN_H */
