# The host's part of the memlock demo: Debian's QEMU at small limits of locked memory and without CAP_IPC_LOCK,
# with five PHBs. KVM gets the TCE tables that fit, QEMU keeps the others; the guest works in any case.
# Arguments and output: host.sh.

. /t/host.sh

phbs=$(for i in 1 2 3 4; do echo "-device spapr-pci-host-bridge,index=$i,id=phb$i"; done)
# The first is this machine's NVMe, which is compared outside.
disks="-drive if=none,id=a,file=/dev/nvme0n1,format=raw -device nvme,drive=a,serial=a,bus=pci.0
	-drive if=none,id=b,file=/tmp/disk,format=raw -device nvme,drive=b,serial=b,bus=phb4.0"
devices=

# The last is what libvirt gives a guest with KVM of so much memory: in KiB, memory / 128 + 4096 for each PHB + 8192.
for kib in 64 1024 8192 $((512 * 1024 / 128 + 4096 * 5 + 8192)); do
	rm -f /host/tmp/disk
	truncate -s 16M /host/tmp/disk
	as="/t/memlock $kib"
	# Without a 64-bit window each DMA is mapped and unmapped by hypercalls.
	start_guest disable_ddw -m 512M $phbs $disks
	end_guest guest-$kib
	check limit-$kib '[ $locked -le $kib ]' "up to $locked KiB locked by QEMU"
	if [ $kernel != base ]; then
		kvm=$(tce_ended '(rm|virt)') user=$(tce_ended user)
		# A window of 1 GiB takes a view of 2 MiB.
		case $kib in
		32768)	check kvm-$kib '[ $kvm -gt 1000 ] && [ $user = 0 ]' "$kvm hypercalls ended in KVM, $user in QEMU" ;;
		8192)	check shared-$kib '[ $kvm -gt 1000 ] && [ $user -gt 1000 ]' "$kvm hypercalls ended in KVM, $user in QEMU" ;;
		*)	check qemu-$kib '[ $kvm = 0 ] && [ $user -gt 1000 ]' "$kvm hypercalls ended in KVM, $user in QEMU" ;;
		esac
	fi
done
nothing_left
exit $failed
