import { open } from 'node:fs/promises';
import { join } from 'node:path';

/** A new sparse raw image. @returns its path */
export async function createImage(dir: string, name: string, sizeBytes: number): Promise<string> {
  const path = join(dir, name);
  const file = await open(path, 'wx');
  await file.truncate(sizeBytes);
  await file.close();
  return path;
}
