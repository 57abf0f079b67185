# What the workbench's shell scripts share: where things are, and steps that
# show the elapsed time, keep a log of their own, and point to it when they fail.
# Meant to be sourced by a script that lives in workbench/.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
jobs=${JOBS:-$(nproc)}
: "${WB_START:=$(date +%s)}"
export WB_START
mkdir -p "$build/log" "$build/images"

say()
{
	local t=$(( $(date +%s) - WB_START ))
	printf '[%2d:%02d] %s\n' $((t / 60)) $((t % 60)) "$*"
}

die()
{
	say "error: $*" >&2
	exit 1
}

# step NAME COMMAND... : run with output in build/log/NAME.log
step()
{
	local name=$1 log=$build/log/$1.log began=$(date +%s) rc
	shift
	say "$name ..."
	set +e
	( set -e; "$@" ) >"$log" 2>&1 </dev/null
	rc=$?
	set -e
	if [ $rc -ne 0 ]; then
		tail -n 25 "$log" | sed 's/^/    /' >&2
		die "$name failed (status $rc), log: $log"
	fi
	say "$name done in $(( $(date +%s) - began )) s"
}

# try LOG COMMAND... : run it with set -e in force (a caller's || would switch that off); its status is in $rc
try()
{
	local log=$1
	shift
	set +e
	( set -e; "$@" ) >"$log" 2>&1 </dev/null
	rc=$?
	set -e
}

# lock PART [-s] : one change of a part of build/ at a time, whoever asks; -s shared, for who only reads it
lock()
{
	local fd
	exec {fd}>"$build/.lock-$1"
	flock -n ${2:-} "$fd" || { say "waiting for another build ($1)"; flock ${2:-} "$fd"; }
}

# The machine's own Debian: suite, and where its apt gets that suite from.
suite()
{
	( . /etc/os-release; echo "${VERSION_CODENAME:?}" )
}

mirror()	# mirror SUITE
{
	apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(RELEASE) $(CODENAME)' 'Created-By: Packages' |
		awk -v suite="$1" '$2 == "main" && ($3 == suite || $4 == suite) { print $1; exit }'
}
