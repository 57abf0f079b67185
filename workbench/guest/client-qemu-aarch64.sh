# Debian's QEMU for aarch64, which knows vfio cdev and iommufd but no SPAPR container: its guest's firmware reads
# a block of the NVMe and writes it elsewhere. The host's driver wrote it, and reads the copy. Prints TAP.

said()	# said TEXT: within a minute or two
{
	wait_for 150 "grep -q '$1' /tmp/out || ! kill -0 \$qemu"
	grep -q "$1" /tmp/out
}

from=256 to=1024 blocks=64	# of 512 bytes
echo TAP version 13
echo 1..7
wait_for 20 '[ -b /dev/nvme0n1 ]'
head -c $((blocks * 512)) /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/nvme0n1 bs=512 seek=$from conv=fsync 2>/dev/null
result $? "the host's driver writes"
vfio_bind >/tmp/bound
nvme=$(sed 's/ .*//' /tmp/bound)
before=$(pins)
mkfifo /tmp/in
chroot /host /bin/qemu-system-aarch64 -M virt -cpu cortex-a57 -m 128 -nodefaults -display none -serial stdio \
	-object iommufd,id=iommufd0 -device vfio-pci,host="$nvme",iommufd=iommufd0,rombar=0 -bios /u-boot.bin \
	</tmp/in >/tmp/out 2>&1 &
qemu=$!
exec 4>/tmp/in
said 'autoboot'
echo >&4
said '=> '
result $? "the guest's firmware runs"
result $(($(pins) < before + 2048)) "its memory is pinned: $(pins) pages"
printf 'nvme scan\nnvme info\nnvme read 0x42000000 %x %x\nnvme write 0x42000000 %x %x\n' $from $blocks $to $blocks >&4
said "write: device 0 block # $to, count $blocks ... $blocks blocks written: OK"
result $? "it reads and writes the NVMe"
echo poweroff >&4
wait $qemu
result $? "QEMU ended well"
exec 4>&-
wait_for 20 '[ "$(pins)" = $before ]'
result $(($(pins) != before)) "nothing stays pinned"
# the host's driver again
echo "$nvme" >/sys/bus/pci/drivers/vfio-pci/unbind
echo nvme >/sys/bus/pci/devices/$nvme/driver_override
echo "$nvme" >/sys/bus/pci/drivers_probe
wait_for 20 '[ -b /dev/nvme0n1 ]'
dd if=/dev/nvme0n1 bs=512 skip=$to count=$blocks 2>/dev/null | cmp - /tmp/data >&2
result $? "the host's driver reads what the firmware has copied"
[ $failed = 0 ] || sed 's/^/# /' /tmp/out
tr -d '\r' </tmp/out | sed 's/^/qemu: /' >&2
[ $failed = 0 ]
