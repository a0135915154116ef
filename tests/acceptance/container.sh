# A container as strict hosts run one. usage: unshare --mount bash container.sh FOLDER PYTHON_HOME COMMAND...
#
# 64 MB of /dev/shm, a read-only root in which FOLDER alone is writable, user id 12345 without an entry in passwd, no
# HOME, no compiler, and at most 2 GB of memory for data of each process.
set -e
folder=$1 python_home=$2
shift 2
mount --make-rprivate /
mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm
mount --bind "$folder" "$folder"
# A private home folder of root may hold Python: show that part of it alone.
if [ "${python_home#/root/}" != "$python_home" ]; then
    mkdir -p /dev/shm/python
    mount --bind "$python_home" /dev/shm/python
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p "$python_home"
    mount --move /dev/shm/python "$python_home"
    rmdir /dev/shm/python
fi
mount -o remount,bind,ro /
for mounted in /tmp /root; do
    if mountpoint -q $mounted; then mount -o remount,ro $mounted; fi
done
cd "$folder"
ulimit -d 2000000
exec setpriv --reuid 12345 --regid 12345 --clear-groups --no-new-privs \
    env -i PATH=/nowhere OMP_NUM_THREADS=1 "$@"
