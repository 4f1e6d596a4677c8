import { RawstorError } from '../common/errors.js';

export function nameTaken(name: string): RawstorError {
  return new RawstorError('EXISTS', `'${name}' exists already`, {
    hint: 'choose another name, or remove the existing object first',
  });
}

export function notFound(ref: string): RawstorError {
  return new RawstorError('NOT_FOUND', `there is no object '${ref}'`, { hint: 'names are case-sensitive' });
}

export function contended(id: string): RawstorError {
  return new RawstorError('CONFLICT', 'the object is being changed by others all the time', { where: id });
}
