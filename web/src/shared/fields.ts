import type { UseFormReturnType } from '@mantine/form';
import { asProblem } from '../api/problem';

/** Puts a problem beside the field that it names; answers whether there was one. */
export function beside<T extends object>(form: UseFormReturnType<T>, error: unknown): boolean {
  const field = asProblem(error).field;
  if (!field || !(field.name in form.getValues())) return false;
  form.setFieldError(field.name, field.fault);
  return true;
}

/** A moment as a date-and-time field holds it, in the browser's zone. */
export function localOf(iso: string | null | undefined): string {
  if (!iso) return '';
  const date = new Date(iso);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What a date-and-time field holds, as a moment; nothing where it is empty. */
export function isoOf(local: string): string | undefined {
  return local ? new Date(local).toISOString() : undefined;
}
