import type { FileFacts, ObjectInfo } from '../protocol/index.js';

/** What the metadata server tells of a file. */
export interface FileState {
  readonly file: FileFacts | null;
  readonly sizeBytes: number;
  readonly modifiedWallMs: number;
}

export function fileState({ file = null, sizeBytes, createdWallMs }: FileInfo): FileState {
  return {
    file,
    sizeBytes: file?.sizeBytes ?? sizeBytes,
    modifiedWallMs: file?.modifiedWallMs ?? createdWallMs,
  };
}

type FileInfo = Pick<ObjectInfo, 'sizeBytes' | 'createdWallMs'> & { file?: FileFacts | null | undefined };
