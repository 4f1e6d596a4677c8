import { resolve } from 'node:path';
import { RawstorError } from '../../common/errors.js';
import { runService } from '../../common/lifecycle.js';
import type { Context } from '../context.js';
import { answers } from '../gateway/control.js';
import type { Accelerator } from '../gateway/print.js';
import { openCommandLog } from '../logging.js';
import { vhostLibvirtDisk, vhostQemuCommand } from './print.js';

export interface AttachOptions {
  readonly print: 'uri' | 'qemu' | 'libvirt';
  readonly accel: Accelerator;
  readonly socket?: string;
  readonly standby: boolean;
  readonly run?: string;
}

/** Tells how to start a guest on the volume; serves it from here unless somebody does so already on that socket. */
export async function attachVhost(context: Context, name: string, options: AttachOptions): Promise<number> {
  if (options.run !== undefined) {
    throw new RawstorError('USAGE', '--run is for NBD: a command needs an address to connect to');
  }
  const socket = resolve(options.socket ?? `${name}.vhost`);
  const texts = {
    uri: socket,
    qemu: vhostQemuCommand(socket, options.accel),
    libvirt: vhostLibvirtDisk(socket),
  };
  const tell = () => context.output.one({ name, socket, ...texts }, () => [texts[options.print]]);
  if (await answers(socket)) {
    tell();
    return 0;
  }
  const cluster = await context.cluster();
  const log = openCommandLog(context.program, context.globals.verbose ? 'debug' : 'warn');
  return await runService(
    async () => {
      // Loaded when it is served: other verbs start faster without it.
      const { VhostGateway } = await import('./vhost-gateway.js');
      const { clock } = context;
      const io = context.io();
      const gateway = await VhostGateway.start({
        cluster,
        io,
        clock,
        log,
        places: [{ name, socket }],
        standby: options.standby,
      });
      tell();
      context.note('serving until Ctrl-C');
      return gateway;
    },
    { log, failed: (gateway) => gateway.failed, done: (gateway) => gateway.done },
  );
}
