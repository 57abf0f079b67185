# SPDX-License-Identifier: GPL-2.0
# Programs that test VFIO, iommufd and KVM on POWER. They share nothing with libvfio.
CFLAGS += -O2 -Wall -I.. $(KHDR_INCLUDES)
LDLIBS += -lpthread

TEST_GEN_PROGS := $(basename $(wildcard vfio_spapr_*.c kvm_tce_*.c vfio_iommufd_powerpc_*.c))
