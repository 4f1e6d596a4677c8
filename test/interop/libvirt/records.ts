import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const SOURCE = fileURLToPath(new URL('../../../scripts/qemu/guest-files/records.c', import.meta.url));
/** As load-phase has them where it is not told otherwise. */
const COMMON = ['salt=1', 'group=4'];

/** What record-verify does in a guest, done here: a guest of its own takes longer to boot. @throws with what is missing */
export async function verifyRecords(cwd: string, path: string, slots: number, last: number): Promise<void> {
  const program = join(cwd, 'records');
  if (!existsSync(program)) await execa('gcc', ['-O2', '-o', program, SOURCE]);
  const { stdout, exitCode } = await execa(
    program,
    ['verify', `path=${path}`, `slots=${slots}`, `last=${last}`, ...COMMON],
    { reject: false },
  );
  if (exitCode !== 0) throw new Error(`${path}, up to record ${last}: ${stdout}`);
}
