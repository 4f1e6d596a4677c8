import { execFile } from 'node:child_process';
import { asRawstorError } from './errors.js';
import type { Logger } from './log.js';

/** Anything that runs until it is closed. */
export interface Service {
  close(): Promise<void>;
}

/** What a child tells the process that started it, over the channel of `fork`. */
export type ChildMessage =
  | { readonly type: 'ready'; readonly facts: Record<string, unknown> }
  | {
      readonly type: 'failed';
      readonly code: string;
      readonly message: string;
      readonly where: string | undefined;
      readonly hint: string | undefined;
    };

/** What a parent tells a child: signals reach a whole process group, and say nothing of an order. */
export type ParentMessage = { readonly type: 'stop' };

export interface RunOptions<S extends Service> {
  readonly log: Logger;
  /** Told to the parent and to the log when the service is up: addresses and the like. */
  facts?(service: S): Record<string, unknown>;
  /** A stop that takes longer ends the process all the same. */
  readonly stopTimeoutMs?: number;
  /** Resolved by the service when it cannot go on. */
  failed?(service: S): Promise<Error>;
  /** Resolved, with the reason, when there is nothing left for it to do. */
  done?(service: S): Promise<string>;
  /** Goes on when the process that forked this one ends: that one only wanted to know whether it is ready. */
  readonly outlivesParent?: boolean;
}

const STOP_TIMEOUT_MS = 20_000;

/**
 * Runs a service in the foreground until SIGTERM, SIGINT or SIGHUP, or until the process that forked this
 * one asks for it or is gone: then closes it cleanly. A start that waits for others looks at `stopping`. A second signal ends the process at once. Tells systemd (NOTIFY_SOCKET) and
 * the parent when it is ready.
 * @returns the exit code
 * @throws what `start` throws, after telling the parent
 */
export async function runService<S extends Service>(
  start: (stopping: AbortSignal) => Promise<S>,
  options: RunOptions<S>,
): Promise<number> {
  const { log } = options;
  const stop = stopRequest(log, options.outlivesParent === true);
  const limitMs = options.stopTimeoutMs ?? STOP_TIMEOUT_MS;
  const deadline = () =>
    setTimeout(() => {
      log.error({ limitMs }, 'not stopped in time, ending the process');
      process.exit(75);
    }, limitMs).unref();
  const stopping = new AbortController();
  // A start that hangs must not outlive the parent either.
  void stop.asked.then(() => {
    stopping.abort();
    deadline();
  });
  process.on('uncaughtException', (error) => crash(log, error));
  process.on('unhandledRejection', (error) => crash(log, error));
  let service: S;
  try {
    service = await start(stopping.signal);
  } catch (error) {
    if (stopping.signal.aborted) {
      log.info({ reason: await stop.asked, start: String(error) }, 'stopped before it was ready');
      stop.dispose();
      return 0;
    }
    const { code, message, where, hint } = asRawstorError(error);
    tellParent({ type: 'failed', code, message, where, hint });
    stop.dispose();
    throw error;
  }
  const facts = options.facts?.(service) ?? {};
  log.info(facts, 'ready');
  tellParent({ type: 'ready', facts });
  notifySystemd('READY=1', log);
  const failed = options.failed?.(service).then((error) => ({ error })) ?? new Promise<never>(() => {});
  const done = options.done?.(service) ?? new Promise<never>(() => {});
  const end = await Promise.race([stop.asked, failed, done]);
  if (!stopping.signal.aborted) deadline();
  log.info({ reason: typeof end === 'string' ? end : String(end.error) }, 'stopping');
  notifySystemd('STOPPING=1', log);
  await service.close();
  stop.dispose();
  log.info('stopped');
  if (typeof end !== 'string') throw end.error;
  return 0;
}

interface StopRequest {
  /** Resolved with the reason. */
  readonly asked: Promise<string>;
  dispose(): void;
}

function stopRequest(log: Logger, outlivesParent: boolean): StopRequest {
  let ask!: (reason: string) => void;
  let askedBefore = false;
  const asked = new Promise<string>((resolve) => {
    ask = resolve;
  });
  const onSignal = (signal: NodeJS.Signals) => {
    if (askedBefore && signal !== 'SIGHUP') {
      log.warn({ signal }, 'second signal, ending at once');
      process.exit(signal === 'SIGINT' ? 130 : 143);
    }
    askedBefore = true;
    ask(signal);
  };
  // A child in the foreground group gets the terminal's Ctrl-C too, and the SIGTERM of a service manager; there the
  // parent alone decides: a gateway has to end before what it needs.
  const forked = process.send !== undefined;
  const onInterrupt = forked ? () => {} : onSignal;
  const onTerminate = forked && !outlivesParent ? () => {} : onSignal;
  const onParentGone = () => ask('the parent process is gone');
  const onMessage = (message: ParentMessage) => {
    if (message.type === 'stop') ask('the parent process asks for it');
  };
  process.on('SIGTERM', onTerminate);
  if (forked && !outlivesParent) process.on('message', onMessage);
  process.on('SIGHUP', forked ? onInterrupt : onSignal);
  process.on('SIGINT', onInterrupt);
  if (!outlivesParent) process.on('disconnect', onParentGone);
  if (forked && !process.connected && !outlivesParent) onParentGone();
  return {
    asked,
    dispose() {
      process.off('SIGTERM', onTerminate);
      process.off('message', onMessage);
      process.off('SIGHUP', forked ? onInterrupt : onSignal);
      process.off('SIGINT', onInterrupt);
      process.off('disconnect', onParentGone);
      if (process.connected) process.disconnect();
    },
  };
}

function tellParent(message: ChildMessage): void {
  // A parent that is gone is told by 'disconnect'; the error of this send says nothing new.
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

function crash(log: Logger, error: unknown): never {
  try {
    log.fatal({ err: error }, 'internal error, ending the process');
  } finally {
    process.exit(70);
  }
}

/**
 * sd_notify(3) through its own command, because Node has no Unix datagram sockets. A unit not run as root
 * needs NotifyAccess=all for it.
 */
function notifySystemd(state: string, log: Logger): void {
  if (!process.env.NOTIFY_SOCKET) return;
  execFile('systemd-notify', [`--pid=${process.pid}`, state], (error) => {
    if (error !== null) log.warn({ err: error }, 'systemd-notify failed: systemd does not know this state');
  });
}
