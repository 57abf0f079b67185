# DPDK's testpmd drives two NICs that are wired together: by iommufd, which takes the place of VFIO's container
# for type1 programs. Each forwards to the other what it receives. Prints TAP.

# What the last statistics say of both NICs: received sent received sent
counts()
{
	awk '/RX-packets:/ { rx[i++ % 2] = $2 } /TX-packets:/ { tx[j++ % 2] = $2 } END { print rx[0] + 0, tx[0] + 0, rx[1] + 0, tx[1] + 0 }' /tmp/out
}

enough()	# each has received and sent so many packets
{
	echo "show port stats all" >&4
	for c in $(counts); do [ "$c" -ge 1000 ] || return 1; done
}

# Until packets go round. Those that begin are lost if a link is not up yet: then others.
flow()
{
	for i in 1 2 3 4 5 6 7 8 9 10; do
		echo "start tx_first" >&4
		wait_for 20 enough && return
		kill -0 $testpmd || return
		echo stop >&4
	done
	return 1
}

trap '' PIPE	# testpmd may end first
echo TAP version 13
echo 1..6
vfio_bind >/tmp/bound
result $(($(grep -c . /tmp/bound) != 2)) "two NICs are on vfio-pci"
before=$(pins)
mount --bind /dev/iommu /host/dev/vfio/vfio
mkdir -p /host/var/run
mkfifo /tmp/in
pmds=$(for f in /host/pmds/*; do echo "-d ${f#/host}"; done)
chroot /host /bin/dpdk-testpmd $pmds -l 0,1 --no-huge -m 128 --iova-mode=va --no-telemetry -- \
	-i --total-num-mbufs=4096 --forward-mode=io </tmp/in >/tmp/out 2>&1 &
testpmd=$!
exec 4>/tmp/in
# what it says itself may wait in its buffer, the first prompt does not
wait_for 200 'grep -q "testpmd> " /tmp/out || ! kill -0 $testpmd'
result $(($(grep -c '^Port [01]: ' /tmp/out) < 2)) "testpmd has both ports"
flow
result $? "packets went both ways: received, sent $(counts)"
result $(($(pins) <= before)) "memory is pinned while it runs: $(pins) pages"
echo stop >&4
echo quit >&4
exec 4>&-
wait $testpmd
result $? "testpmd ended well"
wait_for 20 '[ "$(pins)" = $before ]'
result $(($(pins) != before)) "nothing stays pinned"
[ $failed = 0 ] || sed 's/^/# /' /tmp/out
sed 's/^/testpmd: /' /tmp/out >&2
[ $failed = 0 ]
