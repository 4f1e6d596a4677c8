/** Where sockets passed by a service manager begin: sd_listen_fds(3), SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

/** Addresses (`fd:N`) of the listening sockets that this process was started with; none when they are for another. */
export function activatedSockets(
  env: NodeJS.ProcessEnv = process.env,
  pid: number = process.pid,
): string[] | undefined {
  const count = Number(env.LISTEN_FDS);
  if (Number(env.LISTEN_PID) !== pid || !Number.isInteger(count) || count < 1) return undefined;
  return Array.from({ length: count }, (_, i) => `fd:${FIRST_FD + i}`);
}
