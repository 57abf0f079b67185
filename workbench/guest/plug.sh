# The host's part of the plug demo: while the guest does DMA, QEMU plugs memory into it and pulls it
# again, several times. What is registered and locked must follow. The last DIMM stays until the
# guest ends. Arguments and output: host.sh.

. /t/host.sh

plugs=3
dimm=256	# MiB
patience=150	# seconds, on a busy machine

qmp_says()	# qmp_says WORD : reads until WORD comes; an error is a failure
{
	local line
	while read -t $patience -r line <&4; do
		echo "qmp: $line" >&2
		case $line in
		*"\"$1\""*) return 0 ;;
		*[Ee]rror*|*ERROR*) return 1 ;;
		esac
	done
	return 1
}

qmp()	# qmp COMMAND [ARGUMENTS]
{
	echo "{\"execute\": \"$1\", \"arguments\": {$2}}" >&3
	qmp_says return
}

guest_says()	# guest_says TEXT : waits for a line that begins so
{
	wait_for $patience "grep -q '^$1' /host/tmp/verdict || ! guest_runs"
	grep -q "^$1" /host/tmp/verdict
}

plug()
{
	qmp object-add '"qom-type": "memory-backend-ram", "id": "mem", "size": '$((dimm << 20)) &&
		qmp device_add '"driver": "pc-dimm", "id": "dimm", "memdev": "mem"'
}

pull()	# to the guest's consent
{
	qmp device_del '"id": "dimm"' && qmp_says DEVICE_DELETED && qmp object-del '"id": "mem"'
}

# In KiB: of all regions (the base has no view of them), and what QEMU has locked.
memory()
{
	local size
	registered=0
	for size in $([ $kernel = base ] || column size $view); do
		registered=$((registered + size / 1024))
	done
	in_lock=$(locked_kib)
}

plugged_guest()	# plugged_guest NAME KERNEL-ARGUMENTS
{
	local i before before_lock more more_lock want=$((dimm << 10))

	[ $kernel != base ] || want=0
	rm -f /host/tmp/qmp.in /host/tmp/qmp.out
	mkfifo /host/tmp/qmp.in /host/tmp/qmp.out
	exec 3<>/host/tmp/qmp.in 4<>/host/tmp/qmp.out
	start_guest "memhp_default_state=online_movable plugs=$plugs $2" -m 512M,slots=1,maxmem=2G -qmp pipe:/tmp/qmp
	qmp qmp_capabilities && guest_says ready
	check ready '[ $? = 0 ]' "DMA has begun $2"
	i=0
	while [ $((i = i + 1)) -le $plugs ] && guest_runs; do
		memory
		before=$registered before_lock=$in_lock
		plug && guest_says "plugged $i"
		check plug-$i '[ $? = 0 ]' "DMA in the new memory" || break
		memory
		more=$((registered - before)) more_lock=$((in_lock - before_lock))
		pull && guest_says "pulled $i"
		check pull-$i '[ $? = 0 ]' "the guest gave it back" || break
		# the release itself is deferred
		wait_for 20 'memory; [ "$registered $in_lock" = "$before $before_lock" ]'
		check follows-$i '[ $more = $want ] && [ $registered = $before ] &&
			[ $more_lock -ge $((dimm << 10)) ] && [ $in_lock = $before_lock ]' \
			"registered $before + $more KiB, then $registered; locked $before_lock + $more_lock KiB, then $in_lock"
	done
	[ $i -le $plugs ] || plug
	end_guest $1
}

bind_devices 1
plugged_guest guest
plugged_guest guest-32 disable_ddw
nothing_left
exit $failed
