import { TextInput } from '@mantine/core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** A request's id, as it stands in `x-request-id`, opens its receipt. */
export function RequestSearch({ open }: { open: (id: string) => void }) {
  const { t } = useTranslation();
  const [wrong, setWrong] = useState(false);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const id = String(new FormData(event.currentTarget).get('id') ?? '').trim();
        setWrong(!ID.test(id));
        if (ID.test(id)) open(id);
      }}
    >
      <TextInput
        type="search"
        name="id"
        label={t('usage.request')}
        placeholder="x-request-id"
        error={wrong ? t('usage.requestRule') : undefined}
        spellCheck={false}
      />
    </form>
  );
}
