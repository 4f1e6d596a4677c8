import { RawstorError } from '../../common/errors.js';
import { type StageFigures, traceFor } from '../../common/trace.js';
import { ControlServer, callControl } from './control.js';

/** Of a process that has nothing else to be asked. @throws RawstorError BUSY */
export function listenForTrace(path: string): Promise<ControlServer> {
  return ControlServer.listen(path, async ({ method, forMs }) => {
    if (method === 'trace') return { stages: traceFor(forMs ?? 0) };
    throw new RawstorError('NOT_SUPPORTED', `unknown method '${method}'`);
  });
}

/** Lets a gateway follow its operations for so long. @returns what it has seen since the last time */
export async function askForTrace(path: string, forMs: number, timeoutMs: number): Promise<StageFigures[]> {
  const { stages } = await callControl(path, { method: 'trace', forMs }, timeoutMs);
  return stages as StageFigures[];
}
