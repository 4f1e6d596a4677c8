import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** One of the benchmarks' own programs in C. @throws Error with what the compiler says */
export async function compile(program: string, sources: readonly string[]): Promise<void> {
  await promisify(execFile)('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, ...sources]);
}
