# The guest's part of make demo: move the pattern through the passed-through NVMe, and to and
# fro through the passed-through NIC, at the same time. Arguments: seed, MiB.

echoed()	# out through the NIC, and what comes back
{
	local nic i=/sys/class/net sent=/tmp/sent back=/tmp/back
	nic=$(ls $i | grep -m 1 ^eth) && ip addr add 10.0.2.15/24 dev $nic && ip link set $nic up || return 1
	wait_for 30 "grep -qs 1 $i/$nic/carrier" || { echo "$nic: no carrier"; return 1; }
	: >$sent
	/t/pattern write $sent $1 $2 >/tmp/sum || return 1
	timeout 100 nc 10.0.2.100 7 <$sent >$back
	[ "$(/t/pattern check $back $1 $2)" = "$(cat /tmp/sum)" ] &&
		echo "$nic, $(basename $(readlink $i/$nic/device/driver)): $2 MiB out and back, checksum $(cat /tmp/sum)"
}

disk=/dev/nvme0n1
wait_for 30 "[ -b $disk ]" || { echo "no $disk"; exit 1; }
echoed $1 $(($2 / 8)) &
wrote=$(/t/pattern write $disk $1 $2) || exit 1
echo "wrote $2 MiB, checksum $wrote"
echo 3 >/proc/sys/vm/drop_caches
read=$(/t/pattern check $disk $1 $2) || exit 1
echo "read it back, checksum $read"
wait $! || { echo "the NIC's echo differs or did not come"; exit 1; }
[ "$wrote" = "$read" ]
